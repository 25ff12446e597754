// The suite "logz" in JavaScript: reads logz.float64.tsv (argument 1), writes id, quantity and hexadecimal numbers.
//   node logz.mjs logz.float64.tsv > results.tsv
import { readFileSync } from "node:fs";

const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

function logMean(logs) {
  const top = logs.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(top)) return top;
  return top + Math.log(logs.reduce((sum, x) => sum + Math.exp(x - top), 0) / logs.length);
}

// log A - log B - log nu, which rises with F
function h({ r_data, r_noise, nu }, F) {
  const shift = F + Math.log(nu);
  return logMean(r_data.map((r) => -softplus(r - shift))) - logMean(r_noise.map((r) => -softplus(shift - r))) - Math.log(nu);
}

function root(problem) {
  const pooled = [...problem.r_data, ...problem.r_noise];
  let [lo, hi] = [Math.min(...pooled), Math.max(...pooled)];
  for (let k = 0; k < 1100 && lo < hi; k++) {
    const middle = lo / 2 + hi / 2;
    if (middle <= lo || middle >= hi) break;
    if (h(problem, middle) > 0) hi = middle;
    else lo = middle;
  }
  return lo / 2 + hi / 2;
}

function hex(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  let [mantissa, exponent] = [Math.abs(x), 0];
  if (mantissa === 0) return "0x0p+0";
  while (mantissa >= 2) [mantissa, exponent] = [mantissa / 2, exponent + 1];
  while (mantissa < 1) [mantissa, exponent] = [mantissa * 2, exponent - 1];
  return `${x < 0 ? "-" : ""}0x${mantissa.toString(16)}p${exponent < 0 ? "" : "+"}${exponent}`;
}

const parse = (word) => {
  if (word.endsWith("inf")) return word.startsWith("-") ? -Infinity : Infinity;
  const parts = /^(-?)0x([01])\.?([0-9a-f]*)p([+-]\d+)$/.exec(word);
  if (!parts) return NaN;
  const [, sign, whole, digits, power] = parts;
  const exponent = Number(power);
  const size = parseInt(whole + digits, 16) * 2 ** (-4 * digits.length);
  return (sign ? -1 : 1) * size * 2 ** Math.trunc(exponent / 2) * 2 ** (exponent - Math.trunc(exponent / 2));
};

const cases = new Map();
for (const line of readFileSync(process.argv[2], "utf8").split("\n")) {
  const [id, role, name, shape, values] = line.split("\t");
  if (role !== "in") continue;
  const numbers = values.split(" ").filter((word) => word).map(parse);
  const found = cases.get(id) ?? cases.set(id, { nu: 1 }).get(id);
  found[name] = shape === "" ? numbers[0] : numbers;
  if (shape.includes(",") || values.startsWith("@") || name === "max_updates") found.left = true; // several runs, arrays beside the file
}
for (const [id, problem] of cases) {
  const { r_data, r_noise, nu, left } = problem;
  if (left) continue;
  const pooled = [...r_data, ...r_noise];
  if (!(nu > 0 && nu < Infinity) || !r_data.length || !r_noise.length || pooled.some(Number.isNaN)) console.log(`${id}\troot\trefused`);
  else if (pooled.every(Number.isFinite)) console.log(`${id}\troot\t${hex(root(problem))}`);
}
