"""Other libraries as examples of ``--impl``, such as tests.adapters.pytorch."""
