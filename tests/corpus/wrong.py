"""Implementations with one bug each: right ones with a change of ``wrong.diff``."""

import importlib
from itertools import groupby
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

from refnce import optim
from refnce.conformance.surface import SOLVERS, SURFACE


class Wrong(NamedTuple):
    """The function that is wrong, the bug, what it changes, and a flag that fails."""

    function: str
    bug: str
    module: str
    flag: str
    patches: tuple[tuple[str, str], ...]

    @property
    def right(self):
        return importlib.import_module(f"tests.corpus.{self.module}")

    @property
    def skip(self):
        return self.right.SKIP if self.patches else ()

    def implementation(self):
        """The wrong function, right ones of its namespace, and a right optimizer."""
        patched = ModuleType(self.right.__name__)
        source = Path(self.right.__file__).read_text()
        for old, new in self.patches:
            assert old in source, f"{old!r} is not in {self.module}"
            source = source.replace(old, new)
        exec(compile(source, self.right.__file__, "exec"), vars(patched))
        space, _, wrong = self.function.partition(".")
        functions = {}
        for name in SURFACE[space]:
            module = patched if name == wrong else self.right
            function = getattr(getattr(module, space, module), name, None)
            beside = self.patches and name not in SOLVERS  # those are slow
            if function and (name == wrong or beside):
                functions[name] = function
        spaces = {"optim": SimpleNamespace(sgd=optim.sgd)}
        spaces[space] = SimpleNamespace(**functions)
        return SimpleNamespace(**spaces)


def _parsed(text):
    wrong = []
    for block in text.split("\n@@ ")[1:]:
        head, *lines = block.rstrip("\n").split("\n")
        title, module, flag = head.split(" | ")
        function, _, bug = title.partition(": ")
        parts = [list(part) for _, part in groupby(lines, key=lambda line: line[0])]
        fragments = ["\n".join(line[1:] for line in part) for part in parts]
        patches = tuple(zip(fragments[::2], fragments[1::2], strict=True))
        wrong.append(Wrong(function, bug, module, flag, patches))
    return tuple(wrong)


WRONG = _parsed(Path(__file__).with_name("wrong.diff").read_text())
