/* The suite "nce" in C: reads nce.float64.tsv (argument 1), writes id, quantity and hexadecimal numbers for `refnce check`.
   cc -O2 -o nce nce.c -lm && ./nce nce.float64.tsv > results.tsv */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };
static double r_data[MOST], r_noise[MOST], F, nu;
static int n, m, usable;
static char id[64];

static double softplus(double z) { return (z > 0 ? z : 0) + log1p(exp(-fabs(z))); }

static double logmeanexp_of_log_sigmoid(const double *r, int count, double sign, double shift) {
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < count; i++) top = fmax(top, -softplus(sign * (r[i] - shift)));
    for (int i = 0; i < count; i++) sum += exp(-softplus(sign * (r[i] - shift)) - top);
    return isinf(top) ? top : top + log(sum / count);
}

static int bad(void) {
    if (!n || !m || !isfinite(F) || !(nu > 0) || !isfinite(nu)) return 1;
    for (int i = 0; i < n; i++) if (isnan(r_data[i])) return 1;
    for (int i = 0; i < m; i++) if (isnan(r_noise[i])) return 1;
    return 0;
}

static void answer(void) {
    double shift = F + log(nu), data = 0, noise = 0, A = 0, B = 0, curve = 0;
    if (!*id || !usable) return;
    if (bad()) {
        const char *names[] = {"loss", "grad_F", "hess_F", "grad_r_data", "bar_update"};
        for (int k = 0; k < 5; k++) printf("%s\t%s\trefused\n", id, names[k]);
        return;
    }
    for (int i = 0; i < n; i++) {
        double s = 1 / (1 + exp(r_data[i] - shift)), t = 1 / (1 + exp(shift - r_data[i]));
        data += softplus(shift - r_data[i]) / n, A += s / n, curve += s * t / n;
    }
    for (int i = 0; i < m; i++) {
        double s = 1 / (1 + exp(shift - r_noise[i])), t = 1 / (1 + exp(r_noise[i] - shift));
        noise += softplus(r_noise[i] - shift) / m, B += s / m, curve += nu * s * t / m;
    }
    printf("%s\tloss\t%a\n", id, (data + nu * noise) / (1 + nu));
    printf("%s\tgrad_F\t%a\n%s\thess_F\t%a\n", id, (A - nu * B) / (1 + nu), id, curve / (1 + nu));
    double log_A = logmeanexp_of_log_sigmoid(r_data, n, 1, shift), log_B = logmeanexp_of_log_sigmoid(r_noise, m, -1, shift);
    printf("%s\tbar_update\t%a\n", id, shift - log_A + log_B);
}

static int numbers(char *text, double *into) {
    int count = 0;
    double number;
    for (char *end; count < MOST && (number = strtod(text, &end), end != text); text = end) into[count++] = number;
    return count;
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (!file) return fputs("usage: nce nce.float64.tsv > results.tsv\n", stderr), 2;
    while (fgets(line, sizeof line, file)) {
        char *field[5] = {line};
        for (int k = 1; k < 5; k++) if ((field[k] = strchr(field[k - 1], '\t'))) *field[k]++ = 0; else goto next;
        char *end = strchr(field[4], '\t');
        if (*line == '#' || !end || strcmp(field[1], "in")) continue;
        *end = 0;
        if (strcmp(id, line)) answer(), strcpy(id, line), usable = 1, nu = 1;
        if (*field[4] == '@' || strchr(field[3], ',') || (*field[2] == 'F' && *field[3])) usable = 0; /* arrays beside the file, several runs: left out here */
        if (!strcmp(field[2], "r_data")) n = numbers(field[4], r_data);
        if (!strcmp(field[2], "r_noise")) m = numbers(field[4], r_noise);
        if (!strcmp(field[2], "F")) F = strtod(field[4], NULL);
        if (!strcmp(field[2], "nu")) nu = strtod(field[4], NULL);
    next:;
    }
    answer();
    return 0;
}
