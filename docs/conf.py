"""How Sphinx builds this documentation; `nox -s docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from alacarte import __version__

project = "alacarte"
author = "the alacarte authors"
copyright = "2026, the alacarte authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "call_terms",
    "option_tables",
    "program_help",
    "diagram",
]
exclude_patterns = ["_build", "_ext", "_pictures"]
suppress_warnings = ["config.cache"]

html_theme = "furo"
pygments_dark_style = "one-dark"
html_title = f"alacarte {version}"
html_static_path = ["_static"]
html_css_files = ["alacarte.css"]
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2757dd", "color-brand-content": "#2757dd"},
    "dark_css_variables": {"color-brand-primary": "#7aa2f7", "color-brand-content": "#7aa2f7"},
}

# A copied console block has its commands, without the prompt and without what they print.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_copy_empty_lines = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# Docstrings write code in single backticks.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
