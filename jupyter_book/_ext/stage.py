"""Lays out the source that Sphinx reads: pages, executed notebooks, generated pages, assets."""

import hashlib
import html
import importlib
import inspect
import json
import re
from pathlib import Path

import benchmarks
import chapters
import claims
import nbformat
from book_docstrings import modules

ROOMS = {
    "core": "What every room uses: costs, data, statistics, devices.",
    "learning": "How anything is trained: the loop, the optimiser, networks, checkpoints.",
    "language": "The language model, its activations, and hooks that move them.",
    "couplings": "Who is paired with whom: solvers that return potentials and sample pairs.",
    "flows": "Velocities learnt on those pairs: paths, objectives, sampling, measures of quality.",
    "steering": "Moving a network's activations: maps, probes, transport.",
    "lab": "Around the chapters: sliders, figures, claims, checks, runs and parameter sweeps.",
}
PLOTLY = "application/vnd.plotly.v1+json"
DROP = ("widgets", "papermill")
ANSWER = {"code_prompt_show": "Show the answer", "code_prompt_hide": "Hide the answer"}
# Links that work in JupyterLab, to a source file and to the book's own pages, and in the book.
LINKS = ((re.compile(r"\]\(((?:\.\./)+)otlab/(\w+)/[\w/]+\.py\)"), r"](\1api/\2.md)"),
         (re.compile(r"\]\(((?:\.\./)+)jupyter_book/"), r"](\1"))


def write(path: Path, text: str | bytes) -> None:
    """Write only what changed, so that Sphinx reads only what changed."""
    data = text.encode() if isinstance(text, str) else text
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def stage(root: Path, source: Path, executed: dict[Path, Path]) -> None:
    """Bring `source` to what the repository and the executed notebooks say.

    Args:
        root: the repository.
        source: the folder that Sphinx will read.
        executed: each notebook, and the folder with its run.
    """
    book, kept = root / "jupyter_book", set()

    def put(relative: str, text: str | bytes):
        write(source / relative, text)
        kept.add(Path(relative))

    for path in book.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.name != "build.py":
            put(str(path.relative_to(book)), path.read_bytes())
    write(source.parent / "CONTRIBUTING.md", (root / "CONTRIBUTING.md").read_bytes())

    found = []
    for notebook, folder in executed.items():
        relative = notebook.relative_to(root)
        put(str(relative), clean(folder / "notebook.ipynb", notebook))
        title = chapters_title(notebook)
        found.append((title, str(relative), chapters.result(folder)))
    tables = benchmarks.page(root / "notebooks" / "results" / "benchmarks")
    frame = (book / "benchmarks.md").read_text("utf-8")
    put("benchmarks.md", frame.replace(benchmarks.MARK, tables))
    frame = (book / "claims.md").read_text("utf-8").replace(claims.MARK, claims.page(found))
    frame = frame.replace(claims.TOTALS, claims.totals(found))
    put("claims.md", frame.replace(claims.SIMULATION, claims.simulated()))

    for name, text in reference().items():
        put(f"api/{name}.md", text)
    for name, text in assets().items():
        put(f"_static/{name}", text)
    for path in source.rglob("*"):
        if path.is_file() and path.relative_to(source) not in kept:
            path.unlink()


def chapters_title(notebook: Path) -> str:
    """The first heading of the notebook."""
    from otlab.lab.execution.chapters import read_chapter

    return read_chapter(notebook).title


def with_outputs(source: Path, executed: Path):
    """The notebook as it is now, with the outputs of a run of the same code cells.

    So a word of prose reaches the page without a new run.
    """
    nb, ran = nbformat.read(source, as_version=4), nbformat.read(executed, as_version=4)
    outputs = [c for c in ran.cells if c.cell_type == "code"
               and "injected-parameters" not in c.metadata.get("tags", [])]
    here = [c for c in nb.cells if c.cell_type == "code"]
    for cell, other in zip(here, outputs, strict=True):
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
    return nb


def clean(executed: Path, source: Path) -> str:
    """An executed notebook as the book wants it.

    Widget state would pull in scripts from elsewhere; the text/html twin stays.
    """
    nb = with_outputs(source, executed)
    for name in DROP:
        nb.metadata.pop(name, None)
    nb.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            for pattern, there in LINKS:
                cell.source = pattern.sub(there, cell.source)
        if "answer" in cell.metadata.get("tags", []):
            cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | ANSWER
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            data.pop("application/vnd.otlab.result+json", None)
            if PLOTLY in data:
                output["data"] = {"text/html": plotly(data[PLOTLY], data.get("text/html", "")),
                                  "text/plain": "An interactive plot."}
    return nbformat.writes(nb)


def plotly(figure: dict, still: str = "") -> str:
    """A figure's data in the page, over its still; plotly_figures.js draws it when it is near.

    The layout's title, and alt and caption from its meta, become the page's own words.
    """
    data = json.dumps({k: figure.get(k, {}) for k in ("data", "layout")}, separators=(",", ":"))
    name = hashlib.sha256(data.encode()).hexdigest()[:12]
    layout = figure.get("layout", {})
    title, meta = layout.get("title", {}), layout.get("meta") or {}
    title = html.escape((title.get("text") if isinstance(title, dict) else title) or "Plot")
    alt = html.escape(meta.get("alt") or title, quote=True)
    safe = data.replace("</", "<\\/")
    return (f'<figure class="otlab-plotly" id="plot-{name}"><p class="otlab-title">{title}</p>'
            f'<div class="otlab-plot" role="img" aria-label="{alt}"></div>'
            f'<div class="otlab-plot-controls"></div><div class="otlab-plot-still">{still}</div>'
            f'<script type="application/json">{safe}</script>'
            f"<figcaption>{html.escape(meta.get('caption', ''))}</figcaption></figure>")


def assets() -> dict[str, str | bytes]:
    """The sliders' front end."""
    from otlab.lab.explore import explore_assets

    script, style = explore_assets()
    return {"explore.js": script, "explore.css": style}


def reference() -> dict[str, str]:
    """Markdown pages that list every public module of every room."""
    index = ["# Reference", "", "Every public function, from its docstring. Rooms are imported by "
             "name: `from otlab.couplings.entropic_ot.sinkhorn import sinkhorn`.", ""]
    pages = {}
    for room, purpose in ROOMS.items():
        package = f"otlab.{room}"
        names = [n for n in modules(package) if has_public(n)]
        index += [f"## [{package}]({room}.md)", "", purpose, "", *(f"- `{n}`: {first_line(n)}"
                                                                  for n in names), ""]
        lines = [f"# {package}", "", purpose, ""]
        for name in names:
            lines += [f"## {name.removeprefix('otlab.')}", "", "```{eval-rst}",
                      f".. automodule:: {name}", "   :members:", "```", ""]
        pages[room] = "\n".join(lines)
    return {"index": "\n".join(index), **pages}


def first_line(name: str) -> str:
    """What a module is for, by its own docstring."""
    return (inspect.getdoc(importlib.import_module(name)) or "").split("\n\n")[0].replace("\n", " ")


def has_public(name: str) -> bool:
    """Whether the module defines something of its own with a docstring."""
    module = importlib.import_module(name)
    return any(getattr(value, "__module__", None) == name and inspect.getdoc(value)
               for key, value in vars(module).items() if not key.startswith("_"))
