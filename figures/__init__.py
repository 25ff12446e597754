"""The figures of the paper, one module each: ``compute`` makes numbers, ``draw`` makes the picture from those numbers.

``python -m figures`` writes NAME.png and NAME.json into a folder; see ``python -m figures --help``.
"""

ON_MNIST = ("fig06", "fig13")  # made where the files of MNIST are
AVAILABLE = (*(f"fig{k:02d}" for k in range(1, 14)), "beyond01")
