"""Array libraries, argument checks and error-free arithmetic: what the formulas stand on."""
