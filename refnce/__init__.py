"""refnce: noise contrastive estimation with an adaptive normalising constant.

Notation (the paper's symbols; Sevekari, Aggarwal, Chikina and Koes, 2024):

    p*, q      densities of data and noise
    p_theta    the model exp(E - F); p~ = exp(E)
    theta, F   the model's parameters (theta~ in the paper), the log of its partition
               function
    r          log p~ - log q: r_data (..., n) on x_i ~ p*, r_noise (..., m) on y_j ~ q
    nu         weight of noise against data: 1 in the paper, m/n in Gutmann and
               Hyvarinen's objective
    A, B       mean sigmoid(F + log nu - r_data), mean sigmoid(r_noise - F - log nu)
    h          log A - log B - log nu; a BAR update is F <- F - h(F); the best F of a
               batch is the root of h, where A = nu B
    T          sufficient statistics of an exponential family: E = <T, theta>

Leading axes are independent runs, the last axis is samples. Import the modules:
``from refnce import nce, logz, expfam, freeenergy``.
"""
