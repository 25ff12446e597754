"""Array libraries, argument checks and error-free arithmetic."""
