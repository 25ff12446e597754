"""Noise contrastive estimation with an adaptive normalising constant.

Notation (the symbols of Sevekari, Aggarwal, Chikina and Koes, 2024):

    p*, q      densities of data and noise
    p~         the unnormalised model exp(E); p_theta = exp(E - F) is the model
    theta      the parameters of E (theta~ in the paper)
    F          the log of the partition function
    T          sufficient statistics of an exponential family: E = <T, theta>
    r          log p~ - log q: r_data (..., n) on x_i ~ p*, r_noise (..., m) on y_j ~ q
    nu         weight of noise against data: 1 in the paper, m/n for Gutmann and
               Hyvarinen
    A          mean sigmoid(F + log nu - r_data)
    B          mean sigmoid(r_noise - F - log nu)
    h          log A - log B - log nu; a BAR update is F <- F - h(F)
    root       the best F of a batch: h = 0, that is A = nu B

Leading axes are independent runs, the last axis is samples. Import the modules:
``from refnce import nce, logz, expfam``.
"""
