"""The generator of the test vectors in ``refnce/conformance/data``: ball arithmetic, nothing from the package."""
