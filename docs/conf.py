"""Settings of the documentation site: ``make docs`` builds the folder above, so that links between pages work in both.

The pages are the Markdown files of the repository. Two parts are made while building: the API reference
(:mod:`api_pages`, from the names that genebrain exports) and the gallery (``examples/``, executed).
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import matplotlib

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))
matplotlib.use("agg")

import api_pages  # noqa: E402

import genebrain  # noqa: E402

project = "genebrain"
author = copyright = "the genebrain authors"
version = release = genebrain.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]

# pages
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/cluster/*.md",
    "docs/doors/*.md",
    "docs/api/*.rst",
    "docs/gallery/**.rst",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/RESULTS.md",
    "experiments/**README.md",
    "data/**README.md",
]
exclude_patterns = ["docs/_build", ".venv", "runs", "outputs", "multirun"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
suppress_warnings = ["config.cache", "myst.header"]  # pages of results may begin at the second level

# API reference
nitpicky = True
autodoc_typehints = "none"  # the types stand in the docstrings, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
nitpick_ignore_regex = [("py:.*", r"(?!genebrain\.tasks).*")]  # objects of other libraries and of the inside

# gallery
sphinx_gallery_conf = {
    "examples_dirs": ["examples"],
    "gallery_dirs": ["docs/gallery"],
    "filename_pattern": r"/example_.*\.py$",
    "ignore_pattern": r"(^|/)(_|align_two_arrays)",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 0,
    "abort_on_example_error": True,
    "show_signature": False,
    "reset_argv": None,
    "capture_repr": ("_repr_html_", "__repr__"),
}
del sphinx_gallery_conf["reset_argv"]
logging.getLogger("msprime").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", category=UserWarning)  # notes of libraries about this machine have no place on a page

# looks
html_theme = "furo"
html_title = "genebrain"
html_static_path = ["_static"]
html_extra_path = ["_static/root"]  # index.html at the top leads to docs/index.html
html_copy_source = False
html_show_sphinx = False


def setup(app) -> None:
    """Write the pages of the API reference before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: api_pages.write(HERE / "api"))
