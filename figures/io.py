"""A figure's files: atomic writes, JSON of plain numbers, and their provenance."""

import json
import os
import platform
import subprocess
from importlib import import_module, metadata
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from figures.settings import Settings
from refnce.array import backend

DIGITS = 7


class FileError(ValueError):
    """A file that cannot be used; the message names it and the remedy."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path``, then rename it to ``path``.

    An exception removes the temporary file; after a kill a ".*.tmp" stays behind.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk's error names no file
            error.filename = str(path)
        raise


def provenance(settings: Settings, command: str, seconds: float) -> dict[str, Any]:
    """Seed, versions, backend, device, command, wall time and the source's commit."""
    versions: dict[str, Any] = {"python": platform.python_version()}
    for name in ("numpy", "array-api-compat", "matplotlib", "refnce"):
        versions[name] = _version(name)
    if settings.backend != "numpy":
        # The distribution of CuPy is called cupy-cuda12x or the like, and the namespace
        # settings.xp is array-api-compat's, which has no version.
        versions[settings.backend] = import_module(settings.backend).__version__
    return {
        "command": command,
        "seed": settings.seed,
        "quick": settings.quick,
        "backend": settings.backend,
        "device": _device(settings),
        "versions": versions,
        "source": _source(Path(__file__).parents[1]),
        "wall_seconds": round(seconds, 2),
    }


def to_json(numbers: dict[str, Any]) -> bytes:
    """JSON with seven significant digits and one line for each innermost list."""
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
        items = [f"{inner}{json.dumps(k)}: {_dump(v, inner)}" for k, v in x.items()]
        return "{\n" + ",\n".join(items) + f"\n{margin}}}"
    if isinstance(x, list) and any(isinstance(value, (list, dict)) for value in x):
        rows = ",\n".join(inner + _dump(value, inner) for value in x)
        return f"[\n{rows}\n{margin}]"
    return json.dumps(x, allow_nan=False)


def _device(settings: Settings) -> str:
    if settings.backend == "cupy":
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        return properties["name"].decode()
    return f"{backend.device(settings.array([0.0]))} ({platform.machine()})"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _source(root: Path) -> str | None:
    """The commit of the repository at ``root``, with "-dirty" if its code differs.

    None if ``root`` is not the top level of a repository, such as an installed package
    inside another project.
    """

    def git(*arguments: str) -> str:
        run = ["git", "-C", str(root), *arguments]
        options: Any = {"capture_output": True, "text": True, "timeout": 10}
        return subprocess.run(run, check=True, **options).stdout.strip()

    # Code alone: the gallery, rewritten figure by figure, would make every tree dirty.
    code = ("refnce", "figures/*.py", "figures/mnist/*.py", "setup.cfg")
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        changed = git("status", "--porcelain", "--", *code)
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
