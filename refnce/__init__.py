"""refnce: noise contrastive estimation with an adaptive normalising constant, on NumPy, CuPy or any array library."""
