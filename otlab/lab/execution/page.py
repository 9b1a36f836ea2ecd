"""An executed notebook as one HTML file that needs nothing else: no kernel, no other host.

nbconvert's "lab" template, less its scripts from a CDN. Formulas are drawn in the reader's
browser as MathML by the KaTeX that sphinxcontrib-katex carries; without that package, or without
JavaScript, they stand as TeX. A content security policy forbids every outside request.
"""

import copy
import html
import importlib.util
import re
from pathlib import Path

from nbconvert.exporters import HTMLExporter
from nbconvert.exporters.html import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:;
 style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:">
{%- endblock html_head_js -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
"""
SHOWN = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex",
         "text/plain"]
STYLE = """
body.jp-Notebook { max-width: 60rem; margin: 0 auto; }
.jp-RenderedHTMLCommon img { max-width: 100%; height: auto; }
.math.display { display: block; overflow-x: auto; text-align: center; margin: 0.8em 0; }
.math math { font-size: 1.15em; }
.math.tex { font-family: monospace; }
table.otlab-claims { border-collapse: collapse; display: block; overflow-x: auto; }
table.otlab-claims :is(td, th) { text-align: left; vertical-align: top; padding: 0.3em 0.6em; }
"""
DRAW = """
document.querySelectorAll(".math.tex").forEach(function (el) {
  katex.render(el.textContent, el, { output: "mathml", throwOnError: false,
                                     displayMode: el.classList.contains("display") });
  el.classList.remove("tex");
});
"""


class _Maths(IPythonRenderer):
    """Markdown whose formulas are elements of class math, not text between dollars."""

    def inline_math(self, body):
        return f'<span class="math tex">{html.escape(body, quote=False)}</span>'

    def block_math(self, body):
        return f'<span class="math display tex">{html.escape(body.strip(), quote=False)}</span>'

    def latex_environment(self, name, body):
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class _Exporter(HTMLExporter):
    def markdown2html(self, source):
        return MarkdownWithMath(renderer=_Maths(escape=False, exclude_anchor_links=True)
                                ).render(_plain_markdown(source))


def page(nb, title: str) -> str:
    """The HTML of an executed notebook; scripts and styles only for what it shows."""
    config = Config()
    config.NbConvertBase.display_data_priority = SHOWN
    exporter = _Exporter(config=config, raw_template=TEMPLATE)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    text, _ = exporter.from_notebook_node(_shown(nb, title))
    return assemble(text)


def assemble(text: str) -> str:
    """Add to nbconvert's page the style, and KaTeX and the explore front end where used."""
    head, tail = f"<style>{STYLE}</style>", ""
    if 'class="otlab-explore"' in text:
        from otlab.lab.explore import explore_assets

        script, style = explore_assets()
        head += f"<style>{style}</style>"
        tail += f"<script>{_inline(script)}</script>"
    katex = _katex()
    if katex and re.search(r'class="math (display )?tex"', text):
        tail += f"<script>{_inline(katex)}</script><script>{DRAW}</script>"
    text = text.replace("</head>", head + "</head>", 1)
    before, body, after = text.rpartition("</body>")
    return before + tail + body + after


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script")


def _katex() -> str | None:
    """KaTeX's own JavaScript, from the package of the book's maths; None without it."""
    try:
        found = importlib.util.find_spec("sphinxcontrib.katex")
    except ModuleNotFoundError:
        return None
    path = Path(found.origin).with_name("katex.min.js") if found and found.origin else None
    return path.read_text("utf-8") if path and path.is_file() else None


def _shown(nb, title: str):
    """A copy with what the page can draw: no widget views, no scripts from elsewhere."""
    nb = copy.deepcopy(nb)
    nb.metadata["title"] = title
    nb.metadata.pop("widgets", None)
    nb.cells = [c for c in nb.cells if "remove-cell" not in c.metadata.get("tags", [])]
    for cell in nb.cells:
        kept = []
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"] = {k: v for k, v in output["data"].items() if k in SHOWN}
                if "text/latex" in output["data"]:
                    tex = output["data"].pop("text/latex").strip().strip("$")
                    output["data"].setdefault("text/html", _Maths().block_math(tex))
                if not output["data"]:
                    continue
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return nb


def _plain_markdown(source: str) -> str:
    """MyST's directives and roles as plain Markdown: ```{note} Title → a titled quotation."""
    def block(match):
        kind, title, body = match.group("kind"), match.group("title").strip(), match.group("body")
        body = re.sub(r"\A(?:[ \t]*:[\w-]+:.*\n)+", "", body)
        lines = [f"**{title or kind.capitalize()}**", "", *_plain_markdown(body).split("\n")]
        return "\n".join(f"> {line}" for line in lines)

    source = re.sub(r"^(?P<fence>`{3,}|:{3,})\{(?P<kind>[\w:-]+)\}(?P<title>.*)\n"
                    r"(?P<body>(?:.*\n)*?)(?P=fence)[ \t]*$", block, source, flags=re.M)
    source = re.sub(r"^\([\w-]+\)=[ \t]*$", "", source, flags=re.M)  # targets
    source = re.sub(r"(\$\$)[ \t]*\([\w:-]+\)[ \t]*$", r"\1", source, flags=re.M)  # labels
    source = re.sub(r"\[([^\]]*)\]\((?!\w+:)([^)\s]*?)\.(?:md|ipynb)[^)]*\)",  # pages of the book
                    lambda m: m[1] or Path(m[2]).stem.replace("_", " "), source)
    return re.sub(r"\{[\w:-]+\}`([^`<]*?)(?:[ \t]*<[^`>]*>)?`", r"\1", source)
