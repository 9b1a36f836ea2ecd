"""Runs the book's notebooks, each only when something that it depends on has changed."""

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path

import yaml

SOURCES = ("otlab/**/*.py", "otlab/**/*.js", "otlab/**/*.css", "requirements.lock",
           "notebooks/results/**/*")


class BookError(Exception):
    """Something that stops the build, said in a sentence."""


def toc_files(toc: Path) -> list[str]:
    """Every document of the table of contents, in order."""
    found = []

    def walk(entry):
        if isinstance(entry, dict):
            for key in ("root", "file"):
                if key in entry:
                    found.append(entry[key])
            for key in ("parts", "chapters", "sections"):
                walk(entry.get(key))
        elif isinstance(entry, list):
            for item in entry:
                walk(item)

    walk(yaml.safe_load(toc.read_text("utf-8")))
    return found


def notebooks(root: Path) -> list[Path]:
    """The notebooks of the table of contents, in order.

    Raises:
        BookError: for an entry without a notebook.
    """
    paths = [root / f"{name}.ipynb" for name in toc_files(root / "jupyter_book" / "_toc.yml")
             if name.startswith("notebooks/")]
    for path in paths:
        if not path.is_file():
            raise BookError(f"jupyter_book/_toc.yml names {path.relative_to(root)}, which is not "
                            "there; add the notebook or take the line out.")
    return paths


def fingerprint(root: Path, notebook: Path, budget: str) -> str:
    """Hash of the notebook, the package, the locked versions and the saved long runs."""
    total = hashlib.sha256(f"{budget} {sys.version_info[:2]} book/1".encode())
    files = {path for pattern in SOURCES for path in root.glob(pattern) if path.is_file()}
    for path in [notebook, *sorted(files)]:
        total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def book_fingerprint(root: Path, runs, out: Path) -> str:
    """Hash of all that the pages are made from: every run, every page and asset, the package."""
    total = hashlib.sha256(str(out).encode())
    book = [p for p in (root / "jupyter_book").rglob("*")
            if p.is_file() and "__pycache__" not in p.parts]
    measured = sorted((root / "notebooks" / "results" / "benchmarks").glob("*.json"))
    for path in [root / "CONTRIBUTING.md", root / "pyproject.toml", *sorted(book), *measured,
                 *(folder / "fingerprint" for folder in runs)]:
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def run(root: Path, notebook: Path, out: Path, budget: str, fresh: bool) -> bool:
    """Execute one notebook into `out` unless it stands there unchanged; True when it ran.

    Raises:
        BookError: when a cell fails.
    """
    key, stamp = fingerprint(root, notebook, budget), out / "fingerprint"
    done = (out / "notebook.ipynb").is_file() and (out / "result.json").is_file()
    if not fresh and done and stamp.is_file() and stamp.read_text() == key:
        print(f"  {notebook.stem}: unchanged", flush=True)
        return False
    from otlab.lab.execution.chapters import read_chapter
    from otlab.lab.execution.run import execute

    chapter = read_chapter(notebook)
    if chapter.parameters is None:  # a page with no settings, such as the first one
        chapter = dataclasses.replace(chapter, parameters={})
    named = budget if "budget" in chapter.parameters else None
    stamp.unlink(missing_ok=True)
    start = time.monotonic()
    print(f"  {notebook.stem}: running{f' at the {named} budget' if named else ''}", flush=True)

    def tell(event):
        if event.state != "running" and event.seconds >= 1:
            print(f"    cell {event.number}/{event.total} {event.seconds:6.1f} s  {event.heading}",
                  flush=True)

    result = execute(chapter, budget=named, out=out, static=True, html=False, on_cell=tell)
    if result.status != "ok":
        error = result.error or {}
        raise BookError(f"{notebook.relative_to(root)} failed in code cell {error.get('cell')} "
                        f"({error.get('heading')}): {error.get('name')}: {error.get('message')}")
    stamp.write_text(key)
    print(f"  {notebook.stem}: done in {time.monotonic() - start:.0f} s", flush=True)
    return True


def result(out: Path) -> dict:
    """What the runner left about a run."""
    return json.loads((out / "result.json").read_text("utf-8"))
