"""What the functions of an exponential family ask of their arguments."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, all_true, array_namespace
from refnce.array.validation import (
    check_arrays,
    check_F,
    check_no_nan,
    check_nu,
    check_samples,
    runs_shape,
)


def family(T_data: Array, T_noise: Array, theta: Array, F: Any, *rest: Any) -> Array:
    """Check the arguments of an exponential family, and return F over all runs.

    ``rest`` is offset_data, offset_noise and nu.
    """
    offset_data, offset_noise, nu = rest
    check_nu(nu)
    offsets = {"offset_data": offset_data, "offset_noise": offset_noise}
    xp = check_arrays(T_data=T_data, T_noise=T_noise, theta=theta, **offsets)
    if theta.ndim == 0 or theta.shape[-1] == 0:
        raise ValueError(
            f"theta must be (..., k) with k >= 1 parameters; got {tuple(theta.shape)}"
        )
    pairs = ("data", T_data, offset_data), ("noise", T_noise, offset_noise)
    for name, T, offset in pairs:
        if T.ndim < 2 or T.shape[-1] != theta.shape[-1]:
            raise ValueError(
                f"T_{name} must be (..., samples, k) with k = {theta.shape[-1]} as "
                f"theta has; got shape {tuple(T.shape)} (one statistic is "
                "T[..., None]; the paper's last entry -1 is left out)"
            )
        if offset.ndim == 0 or offset.shape[-1] != T.shape[-2]:
            raise ValueError(
                f"offset_{name} must be (..., samples) with {T.shape[-2]} samples as "
                f"T_{name} has; got shape {tuple(offset.shape)} (it is log h - log q "
                "at each sample)"
            )
    check_samples(**offsets)
    check_finite(T_data=T_data, T_noise=T_noise, theta=theta)
    check_no_nan(**offsets)
    F = check_F(F, theta, xp, beside="theta")
    one = {"T_data[..., 0]": T_data[..., 0], "T_noise[..., 0]": T_noise[..., 0]}
    shape = runs_shape(**one, theta=theta, F=F[..., None], **offsets)
    return xp.broadcast_to(F, shape)


def check_finite(**arrays: Array) -> None:
    """Check that no array holds NaN or an infinity."""
    for name, x in arrays.items():
        bad = ~array_namespace(x).isfinite(x)
        if not all_true(~bad):
            count = int(array_namespace(x).count_nonzero(bad))
            raise ValueError(
                f"{name} holds {count} NaN or infinite numbers in shape "
                f"{tuple(x.shape)}; it must be finite (a sample outside the support of "
                "the model or of the noise is an offset of -inf or +inf)"
            )
