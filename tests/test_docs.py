"""The documentation builds without a warning, and names what exists."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs_docstrings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SPHINX = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
API = sorted(page for page in DOCS.glob("api/*.rst") if page.stem != "index")


def public_names(page):
    """The functions and classes that the module of a page exports."""
    text = page.read_text(encoding="utf-8")
    (name,) = re.findall(r"^\.\. automodule:: (\S+)$", text, flags=re.MULTILINE)
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", ())
    return {f"{name}.{x}" for x in exported if callable(getattr(module, x))}


# One test, since each worker of pytest-xdist would build the pages for itself.
@needs_docstrings
def test_pages_build_without_warning(tmp_path):
    for name in ("sphinx", "numpydoc", "myst_parser"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra docs)")
    command = [*SPHINX, "-d", tmp_path / "doctrees", DOCS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in API:
        text = (tmp_path / "api" / f"{page.stem}.html").read_text(encoding="utf-8")
        documented = set(re.findall(r'<dt class="[^"]*" id="([\w.]+)"', text))
        assert public_names(page) <= documented, page.stem
    for stub in (page for page in DOCS.glob("*.md") if "page is [" in page.read_text()):
        text = (tmp_path / f"{stub.stem}.html").read_text(encoding="utf-8")
        assert "page is" not in text.split('<div class="body"')[1], stub.stem


def test_each_module_of_the_oracle_surface_has_a_page():
    for name in ("nce", "ence", "logz", "expfam"):
        assert DOCS / "api" / f"{name}.rst" in API


def test_reading_guide_names_files_and_every_solver():
    guide = (DOCS / "reading-guide.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:refnce|figures)/[\w/.]*)`", guide)
    assert len(paths) >= 12
    for path in paths:
        assert (ROOT / path).exists(), path
    for solver in ROOT.glob("refnce/logz/[a-z]*.py"):
        assert solver.name in guide, solver.name


def test_glossary_is_in_alphabetical_order():
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    block = text.split("```{glossary}")[1].split("```")[0]
    terms = re.findall(r"^(\S.*)$", block, flags=re.MULTILINE)
    assert terms == sorted(terms, key=str.lower)


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for target in set(re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", text)):
            # CLAIMS.md may be absent: a run must be able to write it first.
            path = page.parent / target
            assert path.exists() or path.name == "CLAIMS.md", f"{page.name}: {target}"


def test_pull_requests_run_the_whole_check():
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    assert "- run: .ci/run\n" in workflow.read_text(encoding="utf-8")
