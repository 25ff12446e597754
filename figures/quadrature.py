"""Losses of log-ratios by quadrature, and the logarithm of a loss, for beyond01."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Loss:
    """A loss of log-ratios and its derivatives in them."""

    loss: Callable[[Any, Any, Any], Any]
    grad_r: Callable[[Any, Any, Any], tuple[Any, Any]]


def logarithm(base: Any) -> Loss:
    """The logarithm of a loss."""

    def grad_r(r_data: Any, r_noise: Any, F: Any) -> tuple[Any, Any]:
        value = base.loss(r_data, r_noise, F)[..., None]
        dr_data, dr_noise = base.grad_r(r_data, r_noise, F)
        return dr_data / value, dr_noise / value

    return Loss(lambda *arguments: np.log(base.loss(*arguments)), grad_r)


class Quadrature:
    """Losses and rules for F in the population, on the line.

    The samples are the midpoints of a grid, with the densities as their weights.
    """

    def __init__(
        self, data: Any, noise: Any, low: float, high: float, points: int = 1200
    ) -> None:
        edge = np.linspace(low, high, points + 1)
        self.x = (0.5 * (edge[1:] + edge[:-1]))[:, None]
        log_cell = np.log(edge[1] - edge[0])
        self.log_data = data.log_density(self.x) + log_cell
        self.log_noise = noise.log_density(self.x) + log_cell
        self.nce = Loss(self._nce, self._nce_grad_r)
        self.ence = Loss(self._ence, self._ence_grad_r)

    def _nce(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        z = F[..., None] - r_data
        data = np.exp(self.log_data) * np.logaddexp(0.0, z)
        noise = np.exp(self.log_noise) * np.logaddexp(0.0, -z)
        return 0.5 * np.sum(data + noise, axis=-1)

    def _nce_grad_r(self, r_data: Any, r_noise: Any, F: Any) -> tuple[Any, Any]:
        z = F[..., None] - r_data
        return (
            -0.5 * np.exp(self.log_data - np.logaddexp(0.0, -z)),
            0.5 * np.exp(self.log_noise - np.logaddexp(0.0, z)),
        )

    def _ence(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        z = 0.5 * (F[..., None] - r_data)
        return 0.5 * np.sum(np.exp(self.log_data + z) + np.exp(self.log_noise - z), -1)

    def _ence_grad_r(self, r_data: Any, r_noise: Any, F: Any) -> tuple[Any, Any]:
        z = 0.5 * (F[..., None] - r_data)
        return -0.25 * np.exp(self.log_data + z), 0.25 * np.exp(self.log_noise - z)

    def _h(self, r: Any, F: Any) -> Any:
        z = F[..., None] - r
        A = np.logaddexp.reduce(self.log_data - np.logaddexp(0.0, -z), axis=-1)
        return A - np.logaddexp.reduce(self.log_noise - np.logaddexp(0.0, z), axis=-1)

    def bar(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        return F - self._h(r_data, F)

    def root(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        lo, hi = r_data.min(axis=-1), r_data.max(axis=-1)
        for _ in range(50):
            middle = 0.5 * (lo + hi)
            above = self._h(r_data, middle) > 0
            lo, hi = np.where(above, lo, middle), np.where(above, middle, hi)
        return 0.5 * (lo + hi)

    def closed(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        data = np.logaddexp.reduce(self.log_data - 0.5 * r_data, axis=-1)
        return np.logaddexp.reduce(self.log_noise + 0.5 * r_noise, axis=-1) - data
