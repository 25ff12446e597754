"""A mixture of Gaussians whose covariances are low-rank plus isotropic."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from refnce.array import Array, all_true, array_namespace, device, invalid, machine_eps
from refnce.array import shape_of
from refnce.distributions.common import LOG_2PI, check_parameters, check_x


class Constants(NamedTuple):
    """What every evaluation needs; means are less the mean of the mixture."""

    centre: Array  # (d,), the mean of the mixture
    means: Array  # (k, d)
    squares: Array  # (k,), |m|^2
    U: Array  # (k p, d)
    projections: Array  # (k, p), U m
    precision: Array  # (k,), 1/s
    excess: Array  # (k, p), 1/s - 1/v
    log_scale: Array  # (k,), log w - log det(2 pi C)/2


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture sum_k w_k N(m_k, C_k), C_k = U_k^T diag(v_k) U_k + s_k (I - U_k^T U_k).

    Parameters
    ----------
    weights : NumPy array (k,)
        w_k > 0, of sum 1.
    means : NumPy array (k, d)
    directions : NumPy array (k, p, d)
        The p rows of U_k are orthonormal: principal directions of component k. p may
        be 0, then every component is isotropic.
    variances : NumPy array (k, p)
        v_k > 0, the variances along the directions.
    rest : NumPy array (k,)
        s_k > 0, the variance in every direction orthogonal to those.

    Raises
    ------
    TypeError
        If the parameters are not NumPy arrays of one floating dtype.
    ValueError
        If shapes do not fit, a parameter is not finite, a weight or variance is not
        > 0, the weights do not sum to 1, or directions are not orthonormal.

    Notes
    -----
    These are mixtures of probabilistic principal component analysers (Tipping and
    Bishop 1999). With c = x - m_k and a = U_k c,

        (x - m_k)^T C_k^-1 (x - m_k) = |c|^2/s_k - sum_j (1/s_k - 1/v_kj) a_j^2,
        log det C_k = sum_j log v_kj + (d - p) log s_k.

    n points cost two matrix products of n k p d multiplications. |c|^2 is computed
    from x and m_k less the mean of the mixture; it loses the digits of the ratio
    |x - mean|^2/s_k, which matters in float32.

    E(x) is the log-density itself, so log_z is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.distributions import GaussianMixture
    >>> means, long = np.array([[-3.0, 0.0], [3.0, 0.0]]), np.array([[[0.0, 1.0]]] * 2)
    >>> half, ones = np.full(2, 0.5), np.ones(2)
    >>> law = GaussianMixture(half, means, long, np.full((2, 1), 4.0), ones)
    >>> law.sample(np.random.default_rng(0), 5).shape
    (5, 2)
    >>> x = np.array([[4.0, 2.0], [0.0, 2.0]])
    >>> law.log_density(x).round(4)
    array([-4.2242, -7.531 ])
    >>> law.responsibilities(x).round(4)
    array([[0. , 1. ],
           [0.5, 0.5]])
    >>> law.score(x).round(4)
    array([[-1. , -0.5],
           [ 0. , -0.5]])
    """

    weights: Array
    means: Array
    directions: Array
    variances: Array
    rest: Array

    log_z = 0.0

    def __post_init__(self) -> None:
        names = ("weights", "means", "directions", "variances", "rest")
        parameters = {name: getattr(self, name) for name in names}
        check_parameters(**parameters)
        U = self.directions
        expected = U.shape[:1], U.shape[::2], U.shape, U.shape[:2], U.shape[:1]
        if U.ndim != 3 or expected != tuple(x.shape for x in parameters.values()):
            must = "be (k,), (k, d), (k, p, d), (k, p) and (k,)"
            raise invalid(", ".join(names), must, shape_of(*parameters.values()))
        xp = array_namespace(U)
        for name in ("weights", "variances", "rest"):
            x = parameters[name]
            if not all_true(x > 0):
                raise invalid(name, "be > 0", xp.min(x))
        half_digits = machine_eps(U.dtype, xp) ** 0.5
        if abs(float(xp.sum(self.weights)) - 1.0) > half_digits:
            raise invalid("weights", "sum to 1", f"the sum {xp.sum(self.weights):g}")
        products = U @ U.mT - xp.eye(U.shape[1], dtype=U.dtype)
        if not all_true(xp.abs(products) <= half_digits):
            got = f"|U U^T - I| up to {xp.max(xp.abs(products)):g}"
            raise invalid("directions", "have orthonormal rows", got)

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, d), each sample contiguous in memory."""
        k, _, d = self.directions.shape
        xp = array_namespace(self.means)
        sums = xp.cumulative_sum(self.weights)
        chosen = xp.searchsorted(sums / sums[-1], rng.random(shape), side="right")
        x = rng.standard_normal((*shape, d)).reshape(-1, d)
        chosen = chosen.reshape(-1)
        for j in range(k):
            z, U, s = x[chosen == j], self.directions[j], self.rest[j] ** 0.5
            stretched = (z @ U.T) * (self.variances[j] ** 0.5 - s)
            x[chosen == j] = self.means[j] + s * z + stretched @ U
        return x.reshape(*shape, d)

    def log_density(self, x: Array) -> Array:
        """Return the log-density (...) of x (..., d)."""
        return self._evaluate(x)[0]

    def responsibilities(self, x: Array) -> Array:
        """Return P(component | x) (..., k) of x (..., d)."""
        return self._evaluate(x)[1]

    def score(self, x: Array) -> Array:
        """Return d log-density/dx (..., d) of x (..., d)."""
        return self.log_density_and_score(x)[1]

    def log_density_and_score(self, x: Array) -> tuple[Array, Array]:
        """Return both, as a density of ``sampling.hmc``."""
        (value, shares, a), of = self._evaluate(x), self._constants(x)
        xp, by_component = array_namespace(x), shares * of.precision
        along = shares[..., None] * of.excess * a
        along = xp.reshape(along, (*x.shape[:-1], of.U.shape[0]))
        total = xp.sum(by_component, axis=-1)[..., None]
        # sum_k P(k | x) (U^T (1/s - 1/v) a - (x - m)/s)
        score = along @ of.U + by_component @ of.means - total * (x - of.centre)
        return value, score

    def _evaluate(self, x: Array) -> tuple[Array, Array, Array]:
        """Log-density (...), responsibilities (..., k), projections a (..., k, p)."""
        xp, of = array_namespace(x), self._constants(x)
        c = x - of.centre
        a = xp.reshape(c @ of.U.T, (*x.shape[:-1], *of.excess.shape)) - of.projections
        # |x - m|^2 = |c|^2 - 2 <c, m> + |m|^2
        square = xp.sum(c**2, axis=-1)[..., None] - 2.0 * (c @ of.means.T) + of.squares
        distance = of.precision * square - xp.sum(of.excess * a**2, axis=-1)
        joint = of.log_scale - 0.5 * distance
        top = xp.max(joint, axis=-1)[..., None]
        terms = xp.exp(joint - top)
        total = xp.sum(terms, axis=-1)[..., None]
        return (top + xp.log(total))[..., 0], terms / total, a

    def _constants(self, x: Array) -> Constants:
        """The constants as arrays of x's kind, converted once for each kind."""
        check_x(x, self.means.shape[-1])
        key = (type(x), str(x.dtype), str(device(x)))
        if key not in self._converted:
            constants = check_x(x, self.means.shape[-1], *self._computed)
            self._converted[key] = Constants(*constants)
        return self._converted[key]

    @cached_property
    def _computed(self) -> Constants:
        """The constants in float64."""
        xp = array_namespace(self.means)
        parameters = self.weights, self.means, self.directions, self.variances
        w, m, U, v = (xp.astype(x, xp.float64) for x in parameters)
        (k, p, d), s = U.shape, xp.astype(self.rest, xp.float64)
        w = w / xp.sum(w)
        log_det = xp.sum(xp.log(v), axis=-1) + (d - p) * xp.log(s) + d * LOG_2PI
        centre = w @ m
        m = m - centre
        return Constants(
            centre,
            m,
            xp.sum(m**2, axis=-1),
            xp.reshape(U, (k * p, d)),
            (U @ m[..., None])[..., 0],
            1.0 / s,
            1.0 / s[:, None] - 1.0 / v,
            xp.log(w) - 0.5 * log_det,
        )

    @cached_property
    def _converted(self) -> dict[Any, Constants]:
        return {}
