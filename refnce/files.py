"""Atomic writes. To be deleted once the conformance kit has its own."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex


class FileError(ValueError):
    """A file that cannot be used; the message names it and the remedy."""


def write(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path`` and rename it to ``path``."""
    temporary = path.with_name(f".{path.name}.{token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
