"""Runs the book's notebooks, each only when something that it depends on has changed."""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import queue
import threading
import time
from pathlib import Path

import yaml

from otlab.lab.execution.chapters import read_chapter
from otlab.lab.execution.fingerprint import fingerprint


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


def book_fingerprint(root: Path, executed, out: Path) -> str:
    """Hash of all that the pages are made from: runs, notebooks, pages and assets, the package."""
    total = hashlib.sha256(str(out).encode())
    book = [p for p in (root / "jupyter_book").rglob("*")
            if p.is_file() and "__pycache__" not in p.parts]
    package = [p for p in (root / "otlab").rglob("*") if p.suffix in {".py", ".js", ".css"}]
    measured = sorted((root / "notebooks" / "results" / "benchmarks").glob("*.json"))
    for path in [root / "CONTRIBUTING.md", root / "pyproject.toml", *sorted(book),
                 *sorted(package), *measured, *executed,
                 *(folder / "fingerprint" for folder in executed.values())]:
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def done(root: Path, notebook: Path, out: Path, budget: str) -> bool:
    """Whether `out` holds a run of this notebook that a new run would repeat."""
    stamp = out / "fingerprint"
    there = all((out / name).is_file() for name in ("notebook.ipynb", "result.json"))
    return (there and stamp.is_file()
            and stamp.read_text("utf-8") == fingerprint(root, notebook, budget))


def run_all(root: Path, folder: Path, budget: str, fresh: bool, jobs: int) -> dict[Path, Path]:
    """Execute every notebook that changed, `jobs` at a time; returns the folder of each run.

    Each of the jobs has its own share of the cores: two chapters with one core each end sooner
    than one after the other on two.

    Raises:
        BookError: when a cell fails, after the others have ended.
    """
    from otlab.lab.execution import kernels

    here = {notebook: folder / notebook.stem for notebook in notebooks(root)}
    todo = {n: out for n, out in here.items() if fresh or not done(root, n, out, budget)}
    for notebook in here:
        if notebook not in todo:
            print(f"  {notebook.stem}: unchanged", flush=True)
            _record(root, notebook, here[notebook])
    cores, lock = queue.SimpleQueue(), threading.Lock()
    for share in core_shares(min(jobs, max(1, len(todo)))):
        cores.put(share)

    def one(notebook):
        share = cores.get()
        if share is not None:
            os.sched_setaffinity(0, share)  # of this thread, and so of the kernel that it starts
        try:
            run(root, notebook, todo[notebook], budget, lock)
        finally:
            cores.put(share)

    with concurrent.futures.ThreadPoolExecutor(max(1, jobs)) as pool:
        waiting = [pool.submit(one, notebook) for notebook in todo]
        try:
            concurrent.futures.wait(waiting)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.kill_all()
            raise
    failed = [str(f.exception()) for f in waiting if isinstance(f.exception(), BookError)]
    if failed:
        raise BookError("\n".join(failed))
    for future in waiting:
        future.result()
    return here


def core_shares(jobs: int) -> list[set[int] | None]:
    """The cores of this process dealt out to `jobs`; None for each where they cannot be dealt."""
    if jobs < 2 or not hasattr(os, "sched_getaffinity"):
        return [None] * max(1, jobs)
    own = sorted(os.sched_getaffinity(0))
    return [set(own[i::jobs]) for i in range(jobs)] if len(own) >= jobs else [None] * jobs


def executed_elsewhere(root: Path, folder: Path, budget: str) -> dict[Path, Path]:
    """The runs that the test command kept in `folder`, by notebook.

    Raises:
        BookError: naming every notebook that has none there, or one of another source.
    """
    here = {notebook: folder / notebook.stem for notebook in notebooks(root)}
    stale = [n.stem for n, out in here.items() if not done(root, n, out, budget)]
    if stale:
        raise BookError(f"{os.path.relpath(folder)} holds no run of the present {', '.join(stale)};"
                        " `python tools/run_tests.py --only nbval` leaves it there when it passes.")
    return here


def run(root: Path, notebook: Path, out: Path, budget: str, lock) -> None:
    """Execute one notebook into `out`, and leave its record; `lock` keeps lines whole.

    Raises:
        BookError: when a cell fails.
    """
    from otlab.lab.execution.run import execute

    chapter = read_chapter(notebook)
    if chapter.parameters is None:  # a page with no settings, such as the first one
        chapter = dataclasses.replace(chapter, parameters={})
    named = budget if "budget" in chapter.parameters else None
    key = fingerprint(root, notebook, budget)
    (out / "fingerprint").unlink(missing_ok=True)
    start = time.monotonic()

    def say(text):
        with lock:
            print(f"  {notebook.stem}: {text}", flush=True)

    def tell(event):
        if event.state != "running" and event.seconds >= 1:
            say(f"cell {event.number}/{event.total} {event.seconds:6.1f} s  {event.heading}")

    say(f"running{f' at the {named} budget' if named else ''}")
    result = execute(chapter, budget=named, out=out, static=True, html=False, on_cell=tell)
    if result.status != "ok":
        error = result.error or {}
        raise BookError(f"{notebook.relative_to(root)} failed in code cell {error.get('cell')} "
                        f"({error.get('heading')}): {error.get('name')}: {error.get('message')}")
    (out / "fingerprint").write_text(key)
    _record(root, notebook, out)
    say(f"done in {time.monotonic() - start:.0f} s")


def _record(root: Path, notebook: Path, out: Path) -> None:
    """Bring the chapter's record up to this run, where it is of another source."""
    from otlab.lab.execution.record import faults, keep_record

    chapter = read_chapter(notebook)
    if chapter.parameters is not None and faults(notebook, root):
        keep_record(chapter, out, root)


def result(out: Path) -> dict:
    """What the runner left about a run."""
    return json.loads((out / "result.json").read_text("utf-8"))
