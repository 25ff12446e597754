"""Array libraries, argument checks, checked log-ratios, error-free arithmetic."""
