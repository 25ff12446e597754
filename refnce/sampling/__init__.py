"""Hamiltonian Monte Carlo on an unnormalised density, and effective sample sizes."""

from refnce.sampling.ess import effective_sample_size
from refnce.sampling.hmc import Chains, hmc

__all__ = ["Chains", "effective_sample_size", "hmc"]
