"""pymbar's BAR as a solver for F: r_noise = -w_F, r_data = w_R, Delta f = -F.

Its nu is the ratio of the counts, n_F/n_R; it solves for no other. Its error is left
out: it is that of a correct model, not the sandwich form.
"""

import numpy as np
from pymbar.other_estimators import bar as pymbar_bar


def _solved(r_data, r_noise, nu, method):
    if r_data.ndim > 1 or r_noise.ndim > 1:
        raise NotImplementedError("several runs at once")
    samples = np.concatenate([r_data, r_noise])
    if not (r_data.size and r_noise.size) or np.isnan(samples).any():
        raise ValueError("at least one sample of each, and no NaN")
    if np.abs(samples).max() > 1e200:  # among equal ones of 1e300 it never ends
        raise NotImplementedError("infinite and huge log-ratios")
    if nu != r_noise.size / r_data.size:
        raise NotImplementedError("nu other than the ratio of the counts")
    options = {"relative_tolerance": 1e-15, "maximum_iterations": 500}
    with np.errstate(all="ignore"):
        found = pymbar_bar(-r_noise, r_data, method=method, **options)
    return np.asarray(-found["Delta_f"])


def bar(r_data, r_noise, *, nu=1.0):
    return _solved(r_data, r_noise, nu, "self-consistent-iteration")


def bisect(r_data, r_noise, *, nu=1.0):
    return _solved(r_data, r_noise, nu, "bisection")


def newton(r_data, r_noise, *, nu=1.0):  # its false position, the fastest of the three
    return _solved(r_data, r_noise, nu, "false-position")
