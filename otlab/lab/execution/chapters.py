"""The chapters on disk: found, named, and read without starting a kernel."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from otlab.lab.execution.parameter_cell import read_parameters
from otlab.lab.execution.parameters import LabError, Parameter, nearest

VARIABLE = "OTLAB_NOTEBOOKS"


class ChapterError(LabError):
    """An unknown chapter, or a notebook that cannot be read."""


@dataclass(frozen=True)
class Chapter:
    """One notebook with a cell tagged ``parameters``. minutes: reading time, 0 when unknown."""

    name: str
    path: Path
    title: str
    summary: str
    minutes: int
    parameters: dict[str, Parameter] | None  # None without a parameters cell


def root() -> Path:
    """The checkout: the folder that holds notebooks/, found from otlab or from the working folder.

    Raises:
        ChapterError: when otlab was installed without its notebooks.
    """
    here = Path.cwd().resolve()
    for folder in (Path(__file__).resolve().parents[3], here, *here.parents):
        if (folder / "notebooks").is_dir():
            return folder
    raise ChapterError("no notebooks folder was found: run otlab inside a checkout of OT Lab, "
                       f"or set {VARIABLE} to the folder that holds the chapters.")


def notebooks() -> Path:
    """The folder searched for chapters: OTLAB_NOTEBOOKS when set, else notebooks/ of the checkout.

    Raises:
        ChapterError: when OTLAB_NOTEBOOKS names no folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return root() / "notebooks"
    if not Path(named).is_dir():
        raise ChapterError(f"{VARIABLE} is {named!r}, which is not a folder.")
    return Path(named).resolve()


def cache() -> Path:
    """Where tools keep settings and scratch: .cache of the checkout, else a temporary folder."""
    import tempfile

    try:
        folder = root() / ".cache"
        folder.mkdir(exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (ChapterError, OSError):
        pass
    folder = Path(tempfile.gettempdir()) / f"otlab-cache-{os.environ.get('USER', 'user')}"
    folder.mkdir(exist_ok=True)
    return folder


def compiled() -> dict[str, str]:
    """Environment of a kernel that keeps what jax compiles under `cache`.

    The second run of a chapter at the smoke budget takes half as long as the first.
    """
    own = {"JAX_COMPILATION_CACHE_DIR": str(cache() / "jax"),
           "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {name: os.environ.get(name, value) for name, value in own.items()}


def quick_compiler() -> dict[str, str]:
    """Environment of a smoke run: XLA compiles fast rather than well, a third of the time saved."""
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")}


def chapters() -> dict[str, Chapter]:
    """Every chapter by name (its notebook's stem), in the order of the book, then by name.

    Raises:
        ChapterError: for a notebook that is not valid JSON, or two with one name.
    """
    folder, found = notebooks(), {}
    for path in sorted(folder.rglob("*.ipynb")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # .ipynb_checkpoints
        chapter = read_chapter(path)
        if chapter.parameters is None:
            continue
        if chapter.name in found:
            raise ChapterError(f"two chapters are called {chapter.name!r}: {path} and "
                               f"{found[chapter.name].path}; rename one.")
        found[chapter.name] = chapter
    order = {name: i for i, name in enumerate(_book_order(folder))}
    return dict(sorted(found.items(), key=lambda kv: (order.get(kv[0], len(order)), kv[0])))


def find_chapter(name: str | Path) -> Chapter:
    """The chapter of that name, or at that path when it ends in .ipynb.

    Raises:
        ChapterError: naming the nearest chapter, for an unknown one or a missing file.
    """
    if str(name).endswith(".ipynb"):
        path = Path(name)
        if not path.is_file():
            raise ChapterError(f"there is no notebook at {path}; `otlab list` shows the chapters.")
        chapter = read_chapter(path.resolve())
        if chapter.parameters is None:
            raise ChapterError(f"{path} has no cell tagged 'parameters', so it is not a chapter.")
        return chapter
    known = chapters()
    if name in known:
        return known[name]
    if not known:
        raise ChapterError(f"there is no chapter {name!r}: {notebooks()} holds no chapters.")
    raise ChapterError(f"there is no chapter {name!r}; {nearest(str(name), known)} "
                       "`otlab list` shows them all.")


def read_chapter(path: Path) -> Chapter:
    """Title, summary, minutes and parameters of one notebook (None without a parameters cell).

    Raises:
        ChapterError: for a file that is not a version-4 notebook.
    """
    try:
        nb = json.loads(path.read_text(encoding="utf-8"))
        cells = [(c["cell_type"], _text(c["source"]), c.get("metadata", {}).get("tags", []))
                 for c in nb["cells"]]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ChapterError(f"{path} is not a version-4 notebook "
                           f"({type(error).__name__}); open and save it in JupyterLab.") from error
    about = nb.get("metadata", {}).get("otlab", {})
    prose = "\n\n".join(text for kind, text, _ in cells if kind == "markdown")
    heading = re.search(r"^#\s+(.+)$", prose, re.M)
    tagged = [text for kind, text, tags in cells if kind == "code" and "parameters" in tags]
    code = [text for kind, text, _ in cells if kind == "code"]
    return Chapter(name=path.stem, path=path,
                   title=heading.group(1).strip() if heading else path.stem.replace("_", " "),
                   summary=about.get("summary", ""), minutes=int(about.get("minutes", 0)),
                   parameters=read_parameters(tagged[0], code, path) if tagged else None)


def _text(source) -> str:
    return source if isinstance(source, str) else "".join(source)


def _book_order(folder: Path) -> list[str]:
    """Stems in the order of the book's table of contents; empty when there is none."""
    toc = folder.parent / "jupyter_book" / "_toc.yml"
    if not toc.is_file():
        return []
    entries = re.findall(r"^\s*-?\s*(?:file|root):\s*(\S+)", toc.read_text("utf-8"), re.M)
    return [Path(entry.strip("'\"")).stem for entry in entries]
