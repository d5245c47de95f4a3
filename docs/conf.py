"""Sphinx configuration: Markdown pages (MyST), furo theme, nothing that needs a network."""

from __future__ import annotations

import re
from pathlib import Path

project = "uws-service"
author = copyright = "The uws-service developers"
release = version = re.search(  # the package need not be importable to build the docs
    r'__version__ = "([^"]+)"', (Path(__file__).parents[1] / "uws_service" / "__init__.py").read_text()
).group(1)

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"uws-service {release}"
html_static_path = []
# furo's icons and fonts come with the theme; no page asks another host for anything.
html_theme_options = {"navigation_with_keys": True}
exclude_patterns = ["_build", "explanation/simulation/*", "study/comparison.md"]  # tables that a page includes
suppress_warnings: list[str] = []
