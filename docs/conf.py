"""Sphinx configuration: ``python -m sphinx -W -b html docs docs/_build``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "refnce"
extensions = ["sphinx.ext.autodoc", "myst_parser", "numpydoc"]
exclude_patterns = ["_build"]
default_role = "py:obj"
smartquotes = False  # h' stays a derivative
autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "Noise contrastive estimation with F solved at every step",
    "page_width": "70rem",
    "sidebar_width": "14rem",
    "body_max_width": "54rem",
}
html_static_path = ["static"]
html_css_files = ["refnce.css"]
html_show_copyright = False

# Pages that are files of the repository. The file under docs/ only links to it.
PAGES = {
    "index": "README.md",
    "claims": "CLAIMS.md",
    "gallery": "figures/gallery/README.md",
    "changelog": "CHANGELOG.md",
}


def setup(app):
    app.connect("source-read", read_from_repository)
    app.connect("autodoc-process-docstring", escape, priority=1)  # before numpydoc


def read_from_repository(app, page, source):
    """Replace the text of a page by that of its file, with the links mended."""
    if page not in PAGES:
        return
    path = ROOT / PAGES[page]
    app.env.note_dependency(str(path))  # a change renews the page
    contents = source[0].partition("```{toctree}")

    def link(match):
        image, text, target = match.groups()
        file = (path.parent / target).resolve()
        if not file.exists():
            return match[0]
        file = file.relative_to(ROOT).as_posix()
        titles = {value: f"{key}.md" for key, value in PAGES.items()}
        if image:
            return f"![{text}](../{file})"
        if file.startswith("docs/") or file in titles:
            return f"[{text}]({titles.get(file, file.removeprefix('docs/'))})"
        return text  # a file that has no page

    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(!?)\[([^]]*)\]\(([^):#]+)(?:#L\d+)?\)", link, text)
    source[0] = text + "".join(contents[1:])


def escape(app, what, name, obj, options, lines):
    """Keep * and | as written, and indented formulas of a module line by line."""
    example = block = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        indented = what == "module" and line.startswith("    ")
        if indented and not block:
            lines[i - 1] = "\n.. code-block:: text\n" if i else ""
        block = indented or (block and not line.strip())
        if not example and not block:
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [re.sub(r"([*|]|^\+)", r"\\\1", x) for x in parts[::2]]
            lines[i] = "".join(parts)
    lines[:] = "\n".join(lines).split("\n")
