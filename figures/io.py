"""Write a figure's files so that no half of one is ever seen, with the provenance of its numbers."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from figures.settings import Settings
from refnce.array import backend

DIGITS = 7


def provenance(settings: Settings, command: str, seconds: float) -> dict[str, Any]:
    """Where the numbers come from: seed, versions, backend, device, command, wall time and the state of the source tree."""
    libraries = ["numpy", "array-api-compat", "matplotlib", "refnce"]
    if settings.backend != "numpy":
        libraries.append(settings.xp.__name__.split(".")[-1].replace("_", "-"))
    return {
        "command": command,
        "seed": settings.seed,
        "quick": settings.quick,
        "backend": settings.backend,
        "device": _device(settings),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in libraries},
        },
        "source": _source(),
        "wall_seconds": round(seconds, 2),
    }


def to_json(numbers: dict[str, Any]) -> bytes:
    """The numbers as JSON: seven significant digits, one line for each innermost list."""
    return (_dump(_plain(numbers), "") + "\n").encode()


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(value) for value in x]
    if isinstance(x, np.ndarray):
        return _plain(x.tolist())
    if isinstance(x, (float, np.floating)):
        return float(f"{float(x):.{DIGITS}g}") if np.isfinite(x) else None
    return x.item() if isinstance(x, np.generic) else x


def _dump(x: Any, margin: str) -> str:
    inner = margin + " "
    if isinstance(x, dict) and x:
        items = [
            f"{inner}{json.dumps(key)}: {_dump(value, inner)}"
            for key, value in x.items()
        ]
        return "{\n" + ",\n".join(items) + f"\n{margin}}}"
    if isinstance(x, list) and any(isinstance(value, (list, dict)) for value in x):
        return (
            "[\n"
            + ",\n".join(inner + _dump(value, inner) for value in x)
            + f"\n{margin}]"
        )
    return json.dumps(x, allow_nan=False)


def _device(settings: Settings) -> str:
    if settings.backend == "cupy":
        import cupy

        return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)[
            "name"
        ].decode()
    return f"{backend.device(settings.array([0.0]))} ({platform.machine()})"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _source() -> str | None:
    """The commit that the numbers were made from, with "-dirty" where the code differs; None outside a checkout."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        run = ["git", "-C", str(root), *arguments]
        return subprocess.run(
            run, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # Code alone: the gallery, rewritten figure by figure, would make every tree dirty.
        changed = git(
            "status", "--porcelain", "--", "refnce", "figures/*.py", "setup.cfg"
        )
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
