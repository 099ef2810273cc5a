"""The documentation site, `make docs`: the Markdown of this folder, and a reference from the docstrings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import localgrad

project = "localgrad"
author = project_copyright = "The localgrad developers"
version = release = localgrad.__version__
html_title = f"localgrad {version}"

extensions = ["myst_nb", "sphinx_copybutton", "site_pages"]
exclude_patterns = ["extensions"]
nitpicky = True
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Notebooks compute whenever the site is made; a cell that fails, or takes more than ten minutes (on a busy machine),
# stops it.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
