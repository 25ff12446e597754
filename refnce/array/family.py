"""What the functions of an exponential family ask of their arguments."""

from refnce.array.backend import array_namespace
from refnce.array.validation import check_arrays, check_none, check_nu
from refnce.array.validation import check_samples, invalid, over_runs, shape_of


def family(T_data, T_noise, theta, F, offset_data, offset_noise, nu):
    """Check the arguments of an exponential family, and return F over all runs."""
    check_nu(nu)
    offsets = {"offset_data": offset_data, "offset_noise": offset_noise}
    xp = check_arrays(T_data=T_data, T_noise=T_noise, theta=theta, **offsets)
    if theta.ndim == 0 or theta.shape[-1] == 0:
        raise invalid("theta", "be (..., k) with k >= 1 parameters", shape_of(theta))
    sides = ("data", T_data, offset_data), ("noise", T_noise, offset_noise)
    for name, T, offset in sides:
        if T.ndim < 2 or T.shape[-1] != theta.shape[-1]:
            must = f"be (..., samples, k) with k = {theta.shape[-1]} as theta has"
            remedy = "pass one statistic as T[..., None]; leave out the paper's last -1"
            raise invalid(f"T_{name}", must, shape_of(T), remedy)
        if offset.ndim == 0 or offset.shape[-1] != T.shape[-2]:
            must = f"be (..., samples) with {T.shape[-2]} samples as T_{name} has"
            remedy = "it is log h - log q at each sample"
            raise invalid(f"offset_{name}", must, shape_of(offset), remedy)
    check_finite(T_data=T_data, T_noise=T_noise, theta=theta)
    check_samples(**offsets)
    one = {"T_data[..., 0]": T_data[..., 0], "T_noise[..., 0]": T_noise[..., 0]}
    return over_runs("F", "theta", xp, **one, theta=theta, F=F, **offsets)


def check_finite(**arrays):
    """Check that no array holds NaN or an infinity."""
    remedy = "it must be finite (a sample outside the support of the model or of "
    remedy += "the noise is an offset of -inf or +inf)"
    for name, x in arrays.items():
        bad = ~array_namespace(x).isfinite(x)
        check_none(name, bad, "NaN or infinite numbers", remedy)
