"""Other libraries as examples of what ``pytest --impl`` takes: ``--impl tests.adapters.pytorch`` and so on."""
