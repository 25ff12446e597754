"""The figures of the paper, one module each: ``compute`` makes numbers, ``draw`` makes the picture from those numbers.

``python -m figures`` writes NAME.png and NAME.json into a folder; see ``python -m figures --help``.
"""

NAMES = (*(f"fig{k:02d}" for k in range(1, 14)), "beyond01")
AVAILABLE = ("fig01", "fig02", "fig03", "fig04", "fig05", "fig07", "fig08", "fig09", "fig10", "fig11", "fig12", "beyond01")
