"""The generator of the certified test vectors: python -m tests.vectors.generate."""
