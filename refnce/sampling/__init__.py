"""Samplers of unnormalised densities, and whether to trust their chains."""

from refnce.sampling.hmc import Chains, diagnose, hmc, mala

__all__ = ["Chains", "diagnose", "hmc", "mala"]
