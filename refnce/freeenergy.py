r"""Free energies of a chain of states, with the standard errors of all differences.

State k has the reduced potential u_k, the density exp(f_k - u_k), and samples of its
own. Neighbours k and k + 1 are one NCE problem, with p~ = exp(-u_{k+1}) as model and
state k as noise:

    r = u_k - u_{k+1},   nu = n_k/n_{k+1},   f_{k+1} - f_k = -F_k.

This is the Bennett acceptance ratio of unequal counts (Section 3.2). All pairs are
solved in one call, at nu = 1: with as many weights on either side, G = F + log nu takes
the place of F. Where a state has fewer samples than another, its rows are filled up
with data of r = +inf and noise of r = -inf, whose sigmoids are 0.

The standard errors. F_k solves g_k = sum s_data - sum s_noise = 0 over the samples of
its pair, and dg_k/dF_k = H_k = sum s (1 - s). By the implicit function theorem a change
of g_k moves F_k by -1/H_k of it. Summed over k from i to j - 1 this gives f_j - f_i:

- a sample t of state i moves it by -b_t,    b_t = s_noise/H_i of pair i;
- a sample t of state j moves it by a_t,     a_t = s_data/H_{j-1} of pair j - 1;
- a sample t of a state k between them is data of pair k - 1 and noise of pair k, and
  moves it by a_t - b_t.

States are sampled independently, so that to first order

    Var(f_j - f_i) = V_i(b) + sum_{i<k<j} V_k(b - a) + V_j(a),

V the variance of the sum over the samples of a state: n var of n independent ones,
n^2 var/ess of correlated ones, ess the effective sample size of that very series.
The squares of the pairs' errors would add V_k(b) + V_k(a) instead. Since a and b are
correlated negatively, that is too small, by up to a half of the variance.
"""

import math
from dataclasses import dataclass
from functools import partial

from refnce import nce
from refnce.array import Array, array_namespace, asarray, check_arrays, check_count
from refnce.array import device, host, interoperable, invalid, is_lazy
from refnce.array import shape_of, shipped, to_numpy, where
from refnce.logz import newton
from refnce.logz.result import TRUSTED_OVERLAP
from refnce.sampling import effective_sample_size

__all__ = ["FreeEnergies", "chain"]

# With fewer effective samples in a state the error itself is uncertain by over 10%.
TRUSTED_ESS = 50


@dataclass(frozen=True, slots=True)
class FreeEnergies:
    """The free energies of a chain of K states, in units of kT.

    Attributes
    ----------
    f : array (..., K)
        Free energies, with f_0 = 0.
    error : array (..., K, K)
        The standard error of every f_j - f_i. nan where a state has one sample.
    status : integer array (..., K - 1)
        Of each pair: a code of `refnce.logz.Status`.
    overlap : array (..., K - 1)
        Of each pair, as in `refnce.logz.LogZ`: 1 for equal distributions, 0 for samples
        that are far apart.
    ess : array (..., K)
        The effective number of samples of each state, in what they add to
        f_{K-1} - f_0. It is their number where they are independent.
    trusted : boolean array (...)
        Whether the errors can be relied on. They cannot where a pair has not converged
        or has an overlap below 0.01, where a state has fewer than 50 effective samples,
        or where an error is nan.
    """

    f: Array
    error: Array
    status: Array
    overlap: Array
    ess: Array
    trusted: Array


def chain(u, counts, *, chains=1, independent=False):
    """Return the free energies of K states from samples of each.

    Parameters
    ----------
    u : array (..., K, N)
        u[k, t] is the reduced potential of sample t at state k, in kT. Samples come
        state by state, in the order of time. +inf means that the sample is impossible
        at k. Only a sample's own state and its neighbours are read: the rest may be
        NaN. Leading axes are independent problems. Of a Dask array two numbers for each
        sample come to memory, as the correlation takes whole series.
    counts : sequence of int (K,)
        How many samples each state has; their sum is N. ``u`` and ``counts`` are
        pymbar's u_kn and N_k.
    chains : int
        How many equally long time series the samples of each state are, one after the
        other.
    independent : bool
        Whether samples are independent. By default their correlation is estimated.

    Returns
    -------
    FreeEnergies

    Raises
    ------
    TypeError, ValueError
        For NaN or -inf where a number is needed, a sample that is impossible at its own
        state, counts that do not fit u or chains. The message names the argument.

    Notes
    -----
    Bennett (1976) for the pairs; the errors are derived above. They hold for states
    that are sampled independently of each other: not for expanded ensembles and replica
    exchange, where states share trajectories. The effective sample size is Geyer's (see
    `refnce.sampling.effective_sample_size`), at most the number of samples; it needs 4
    samples a chain.

    Examples
    --------
    Three harmonic oscillators, u_k = a_k x^2/2, with f_k - f_0 = log(a_k/a_0)/2:

    >>> import numpy as np
    >>> from refnce.freeenergy import chain
    >>> a = np.array([1.0, 2.0, 4.0])
    >>> x = np.random.default_rng(0).standard_normal((3, 1000)) / a[:, None] ** 0.5
    >>> u = 0.5 * a[:, None] * x.ravel() ** 2
    >>> z = chain(u, [1000, 1000, 1000], independent=True)
    >>> z.f.round(3), z.error[0].round(3), bool(z.trusted)
    (array([0.   , 0.34 , 0.696]), array([0.   , 0.01 , 0.017]), True)
    """
    check_count("chains", chains, 1)
    counts = host.asarray(counts).tolist()
    for k, n in enumerate(counts):
        check_count(f"counts[{k}]", n, 1)
        if n % chains:
            must = f"be a multiple of chains = {chains}"
            raise invalid(f"counts[{k}]", must, n, "cut off the rest")
    return interoperable(lambda u: _chain(u, counts, chains, independent))(u)


def _chain(u, counts, chains, independent):
    K, N = len(counts), sum(counts)
    check_arrays(u=getattr(u, "_meta", u))
    if K < 2 or u.ndim < 2 or u.shape[-2:] != (K, N):
        must = f"be (..., K, N) with K = {K} >= 2 states and N = {N}"
        raise invalid("u", f"{must} samples, as counts says", shape_of(u))
    lazy = is_lazy(u)
    F, status, overlap, a, b = (_one_by_one if lazy else _at_once)(u, counts)
    f = host.zeros((*F.shape[:-1], K))
    f[..., 1:] = host.cumsum(-F, axis=-1)
    V_a, V_b, V_both, ess = _variances(a, b, counts, chains, independent)
    error = _errors(V_a, V_b, V_both)
    trusted = ((status == 0) & (overlap >= TRUSTED_OVERLAP)).all(axis=-1)
    trusted &= (error < math.inf).all(axis=(-2, -1)) & (ess >= TRUSTED_ESS).all(axis=-1)
    xp, place = (host, None) if lazy else (array_namespace(u), device(u))
    results = []
    for x in (f, error, status, overlap, ess, trusted):
        dtype = u.dtype if x.dtype == host.float64 else None
        results.append(asarray(x, xp, dtype, place))
    return FreeEnergies(*results)


def _log_ratios(u, counts):
    """Yield r of every pair on data (..., n_{k+1}) and on noise (..., n_k)."""
    ends = [sum(counts[:k]) for k in range(len(counts) + 1)]
    for k in range(len(counts) - 1):
        pair = []
        for state in (k + 1, k):
            own = u[..., k : k + 2, ends[state] : ends[state + 1]]
            f = partial(_difference, state, k)
            if is_lazy(own):
                f = shipped(f)
                meta = own._meta.sum(axis=-2).astype(float)
                own = own.rechunk({-2: 2})
                pair.append(own.map_blocks(f, drop_axis=own.ndim - 2, meta=meta))
            else:
                pair.append(f(own))
        yield pair


def _difference(state, k, u):
    """u_k - u_{k+1} of samples of one of the two; their rows of u are given."""
    xp = array_namespace(u)
    u = xp.astype(u, xp.float64)
    r = u[..., 0, :] - u[..., 1, :]
    # A sample that is impossible at its own state, NaN and -inf, as r:
    bad = ~(r < math.inf if state == k else r > -math.inf)
    if count := int(xp.count_nonzero(bad)):
        must = "be finite at a sample's own state, and a number or +inf at neighbours"
        what = f"{count} samples of state {state} that are not, at {k} and {k + 1}"
        raise invalid("u", must, what)
    return r


def _at_once(u, counts):
    """F, status, overlap and influences of all pairs, solved as one batch at nu = 1."""
    xp, n, width = array_namespace(u), host.asarray(counts), max(counts)
    shape, place = (*u.shape[:-2], len(counts) - 1, width), device(u)
    data = xp.full(shape, math.inf, dtype=xp.float64, device=place)
    noise = xp.full(shape, -math.inf, dtype=xp.float64, device=place)
    for k, (r_data, r_noise) in enumerate(_log_ratios(u, counts)):
        data[..., k, : counts[k + 1]] = r_data
        noise[..., k, : counts[k]] = r_noise
    G, status, overlap, a, b = _solved(data, noise, 1.0)
    overlap = (0.5 * width) * overlap * (1.0 / n[:-1] + 1.0 / n[1:])
    return G - host.log(n[:-1] / n[1:]), status, overlap, a, b


def _one_by_one(u, counts):
    """The same of a Dask array: each pair by itself, at its own nu."""
    pairs = []
    for k, (data, noise) in enumerate(_log_ratios(u, counts)):
        *numbers, a, b = _solved(data, noise, counts[k] / counts[k + 1])
        a, b = (_filled_up(x, max(counts)) for x in (a, b))
        pairs.append((*numbers, a, b))
    F, status, overlap, a, b = zip(*pairs)
    numbers = (host.stack(x, axis=-1) for x in (F, status, overlap))
    return *numbers, host.stack(a, axis=-2), host.stack(b, axis=-2)


def _filled_up(x, width):
    filled = host.zeros((*x.shape[:-1], width))
    filled[..., : x.shape[-1]] = x
    return filled


def _solved(data, noise, nu):
    """F, status, overlap and the influences a and b of every sample, as NumPy's."""
    z = newton(data, noise, nu=nu)
    dr_data, dr_noise = nce.grad_r(data, noise, where(z.converged, z.F, 0.0), nu=nu)
    F, status, overlap = map(to_numpy, (z.F, z.status, z.overlap))
    hess = (overlap * (nu / (1.0 + nu) ** 2))[..., None]  # s/H is dr over d2L/dF2
    return F, status, overlap, *(abs(to_numpy(x)) / hess for x in (dr_data, dr_noise))


def _variances(a, b, counts, chains, independent):
    """For every state the variances of sums over its a, b and b - a, and its ess."""
    shape = (*a.shape[:-2], len(counts), a.shape[-1])
    influences = host.zeros((3, *shape))  # the first state has no a, the last no b
    influences[0, ..., 1:, :] = a
    influences[1, ..., :-1, :] = b
    influences[2] = influences[1] - influences[0]
    variances, sizes = host.empty(shape := influences.shape[:-1]), host.empty(shape)
    for k, n in enumerate(counts):
        x, ess = influences[..., k, :n], float(n)
        if not independent:
            series = x.reshape((*x.shape[:-1], chains, n // chains))
            ess = effective_sample_size(host.moveaxis(series, -1, 0), chain_axis=-1)
            ess = host.minimum(ess, n)  # nan stays
        constant = (x == x[..., :1]).all(axis=-1)
        variances[..., k] = host.where(constant, 0.0, n * x.var(axis=-1) * (n / ess))
        sizes[..., k] = host.where(constant, n, ess)
    variances[..., [n == 1 for n in counts]] = math.nan
    return *variances, sizes[2]


def _errors(V_a, V_b, V_both):
    """The standard errors of all f_j - f_i from the variances of every state."""
    K = V_a.shape[-1]
    i, k = host.arange(K)[:, None], host.arange(K)
    between = host.cumsum(host.where(k > i, V_both[..., None, :], 0.0), axis=-1)
    upper = V_b[..., :-1, None] + between[..., :-1, :-1] + V_a[..., None, 1:]
    error = host.zeros((*V_a.shape, K))
    error[..., :-1, 1:] = host.where((k > i)[:-1, 1:], host.sqrt(upper), 0.0)
    return error + host.moveaxis(error, -1, -2)
