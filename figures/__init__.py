"""The figures of the paper, one module each.

``compute`` makes numbers, and ``draw`` makes the picture from those numbers. NAME.png
and NAME.json are written by ``python -m figures``; ``--help`` lists its options.
"""

ON_MNIST = ("fig06", "fig13", "beyond03")  # made where the files of MNIST are
AVAILABLE = (*(f"fig{k:02d}" for k in range(1, 14)), "beyond01", "beyond02", "beyond03")
