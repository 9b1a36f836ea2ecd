"""The front end of figures under sliders: files of one idea each, joined into one script."""

import functools
import re
from importlib import resources

# Each file imports only from files before it; joined in this order they share one scope.
PARTS = ("arrays", "colours", "theme", "words", "ticks", "axes", "shapes", "marks", "line_labels",
         "panels", "legend", "readouts", "controls", "figure", "page", "notebook")
HEAD = """/* OT Lab: one front end for figures under sliders, joined from otlab/lab/explore/static.
 *
 * In a built page this is a classic script: it finds every <figure class="otlab-explore"> that
 * carries its states as data and puts a live figure in the place of the still. In a notebook the
 * same text, with one `export` after it, is an anywidget that asks the kernel for each state.
 * No dependence, no request.
 */
var otlabExplore = (function () {
"use strict";
"""
TAIL = "return { render, mount, boot };\n})();\n"
IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.M)
EXPORT = re.compile(r"^export (?=async |function |const |let )", re.M)


@functools.cache
def explore_assets() -> tuple[str, str]:
    """(js, css) of the front end, to inline in a page that stands alone."""
    folder = resources.files("otlab.lab.explore") / "static"
    texts = [(folder / f"{part}.js").read_text("utf-8") for part in PARTS]
    js = HEAD + "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in texts) + TAIL
    return js, (folder / "explore.css").read_text("utf-8")
