"""How this documentation is built: ``sphinx-build -W docs docs/_build/html``."""

from importlib.metadata import version as installed
from typing import Any, final

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from lifelong.core.method_index import index

project = "lifelong"
author = "the lifelong authors"
copyright = author
release = version = installed("lifelong")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

default_role = "code"  # a single backtick in a docstring is code
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # a slot is explained once, in Method
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"lifelong {release}"
html_copy_source = False


def _as_written(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An indented block of a module's docstring is shown as it is written: equations, or code."""
    flush = True  # whether the last line that was not empty stood at the margin
    for i, line in enumerate(list(lines)):
        if line.startswith("    ") and flush and i and not lines[i - 1].strip():
            lines[i - 1] = "\n::\n"
        flush = (not line.startswith("    ") and not line.endswith("::")) if line else flush
    lines[:] = "\n".join(lines).split("\n")


@final
class Methods(SphinxDirective):
    """The page of every method, in the order in which `lifelong methods` lists them."""

    def run(self) -> list[nodes.Node]:
        modules = dict.fromkeys(m.module for m in index())
        lines = [f".. automodule:: lifelong.methods.{module}\n   :members:\n" for module in modules]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Any) -> None:
    app.add_directive("methods", Methods)
    app.connect(
        "autodoc-process-docstring",
        lambda *given: _as_written(*given) if given[1] == "module" else None,
    )
