"""Another implementation, for test_ledger: a function in a namespace, a bare name whose
sign is wrong, and no hess_F."""

import numpy as np


def mean(x):
    return np.mean(1 / (1 + np.exp(x)))


class nce:
    def grad_F(r_data, r_noise, F):
        return (mean(r_data - F) - mean(F - r_noise)) / 2


def bar_update(r_data, r_noise, F):
    return F + np.log(mean(r_data - F)) - np.log(mean(F - r_noise))
