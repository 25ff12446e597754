"""The quadratic head of Section 4.3: features to a log-ratio."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, array_namespace, device, matrix_transpose
from refnce.nn.layer import Layer, Params, Pullback, match

SIGNS = {"negative": -1.0, "positive": 1.0}


def quadratic_head(
    params: Params, f: Array, *, sign: str = "negative"
) -> tuple[Array, Pullback]:
    """Return (r, pullback), r = -f^T W f + b^T f of features f (..., n, k) -> (..., n, 1), or + with sign "positive".

    params: triangle (..., k, k), whose part below the diagonal is that of L and whose diagonal the logarithm of L's; what is
    above it means nothing. W = L L^T is then positive definite. b (..., k). The paper's c is no parameter here: c = -F is one
    parameter, and it is F that moves. The paper writes + (Section 4.3); Rhodes et al. 2020 return -, with which exp(r) is bounded
    whatever the features do: with + the model is normalisable only while f^T W f grows slower than -log q.
    Raises ValueError for an unknown sign or shapes that do not fit.
    """
    if sign not in SIGNS:
        raise ValueError(f"sign must be one of {', '.join(SIGNS)}; got {sign!r}")
    triangle, b, factor = params["triangle"], params["b"], SIGNS[sign]
    k = f.shape[-1]
    if tuple(triangle.shape[-2:]) != (k, k) or b.shape[-1:] != (k,):
        raise ValueError(
            f"triangle must be (..., {k}, {k}) and b (..., {k}) for f {tuple(f.shape)}; got "
            f"{tuple(triangle.shape)} and {tuple(b.shape)}"
        )
    xp = array_namespace(f)
    lower, diagonal = xp.tril(triangle, k=-1), xp.exp(xp.linalg.diagonal(triangle))
    L = lower + _on_diagonal(diagonal)
    z = f @ L
    r = factor * xp.sum(z * z, axis=-1, keepdims=True) + xp.sum(
        f * b[..., None, :], axis=-1, keepdims=True
    )

    def pullback(
        dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]:
        dz = (2.0 * factor) * z * dy
        down = (
            match(dz @ matrix_transpose(L) + dy * b[..., None, :], f.shape)
            if dx
            else None
        )
        if not dparams:
            return down, None
        dL = matrix_transpose(f) @ dz
        gradient = xp.tril(dL, k=-1) + _on_diagonal(diagonal * xp.linalg.diagonal(dL))
        return down, {
            "triangle": match(gradient, triangle.shape),
            "b": match((matrix_transpose(f) @ dy)[..., 0], b.shape),
        }

    return r, pullback


def head(sign: str) -> Layer:
    """Return ``quadratic_head`` of a sign, as a layer."""
    return lambda params, f: quadratic_head(params, f, sign=sign)


def _on_diagonal(d: Array) -> Array:
    xp = array_namespace(d)
    return d[..., None] * xp.eye(d.shape[-1], dtype=d.dtype, device=device(d))
