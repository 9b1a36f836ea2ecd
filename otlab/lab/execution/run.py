"""Runs one chapter with parameters: checked first, executed cell by cell, everything kept.

papermill injects the parameters and keeps the record of each cell; the kernel is always that of
this interpreter, started in the chapter's own folder, as JupyterLab does.
"""

import datetime
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from papermill.engines import NotebookExecutionManager
from papermill.parameterize import parameterize_notebook
from papermill.translators import PythonTranslator, papermill_translators

from otlab.lab.execution.chapters import Chapter, chapters, find_chapter, quick_compiler
from otlab.lab.execution.kernels import INSIDE, CellTooSlow, KernelDied, kernel
from otlab.lab.execution.parameters import check_parameters, effective_budget
from otlab.lab.execution.result import RunFailed, RunResult, dumps, gather, write_atomically

__all__ = ["CellEvent", "RunFailed", "RunResult", "chapters", "execute", "find_chapter"]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class CellEvent:
    """A code cell starts or ends. number: from 1 to total, among code cells.

    state: running, completed or failed. heading: the last heading above the cell.
    seconds: how long it took; 0 while running.
    """

    number: int
    total: int
    heading: str
    state: str
    seconds: float


def execute(path: str | Path | Chapter, *, parameters: Mapping[str, Any] | None = None,
            budget: str | None = None, out: str | Path | None = None, static: bool = False,
            html: bool = True, on_cell: Callable[[CellEvent], None] | None = None,
            timeout: float | None = None, warm: bool = False) -> RunResult:
    """Run a chapter and leave notebook.ipynb, page.html and result.json in `out`.

    Args:
        path: a chapter's name, its notebook's path, or a Chapter.
        parameters: overrides by name, checked before a kernel starts.
        budget: the same as parameters={"budget": …}.
        out: folder for the three files, which are overwritten; None keeps them in memory.
        static: explore figures compute every state, for pages without a kernel.
        html: also write page.html.
        on_cell: called with a CellEvent as each code cell starts and ends.
        timeout: seconds that one cell may take; None for no limit.
        warm: reuse a wiped kernel of this process, if there is one, and keep it afterwards.

    Returns:
        A RunResult, also when a cell failed: look at .status or call .require_ok().

    Raises:
        ChapterError, ParameterError: before anything starts.
        KeyboardInterrupt: on Ctrl-C, after the partial notebook was written.
    """
    chapter = path if isinstance(path, Chapter) else find_chapter(path)
    values = check_parameters(chapter.parameters, parameters, budget=budget, chapter=chapter.name)
    nb = prepare(chapter, values)
    out = None if out is None else Path(out)
    watch = _Watch(nb, out and out / "notebook.ipynb", on_cell)
    budget = effective_budget(values.get("budget"))
    # A page that nobody can run holds all states of its sliders, and answers that were checked.
    extra = {"OTLAB_EXPLORE": "static", "OTLAB_ANSWERS": "1"} if static else {}
    extra |= quick_compiler() if budget == "smoke" else {}
    start, stopped, failure = time.monotonic(), None, None
    facts = {"versions": {"python": platform.python_version()}, "device": platform.machine()}
    watch.notebook_start()
    try:
        with kernel(chapter.path.parent, extra, warm=warm, with_jax=_needs_jax(nb)) as current:
            start = time.monotonic()
            current.run(nb, watch, timeout=timeout)
            seconds = time.monotonic() - start
            facts = current.ask(f"{INSIDE}.facts()")
    except (KernelDied, CellTooSlow) as error:
        failure = watch.failure(type(error).__name__, str(error))
    except KeyboardInterrupt as error:
        stopped, failure = error, watch.failure("KeyboardInterrupt", "stopped by Ctrl-C")
    if failure:
        seconds = time.monotonic() - start
    failure = failure or watch.error
    watch.notebook_complete()
    status = "interrupted" if stopped else "failed" if failure else "ok"
    claims, found, scalars = gather(nb)
    result = RunResult(
        chapter=chapter.name, parameters=values, budget=budget,
        seconds=round(seconds, 2), status=status, claims=claims, found=found, scalars=scalars,
        error=failure, out=out, notebook=nb,
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"), **facts)
    _keep(result, html and out is not None, chapter.title)
    if stopped:
        raise stopped
    return result


def prepare(chapter: Chapter, values: Mapping[str, Any]):
    """The notebook with a cell that sets what differs from the defaults; no outputs yet."""
    nb = nbformat.v4.upgrade(nbformat.reads(chapter.path.read_text(encoding="utf-8"), as_version=4))
    changed = {name: value for name, value in values.items()
               if repr(value) != repr(chapter.parameters[name].default)}
    nb.metadata.setdefault("papermill", {})
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])
    if changed:
        nb = parameterize_notebook(nb, changed, kernel_name="otlab", language="python")
    return nb


class _Literals(PythonTranslator):
    """Writes parameters as Python reads them back, tuples included."""

    @classmethod
    def translate(cls, val):
        return repr(val)


papermill_translators.register("otlab", _Literals)


class _Watch(NotebookExecutionManager):
    """papermill's record of a run; saves atomically after each code cell and tells `on_cell`."""

    def __init__(self, nb, path, on_cell):
        super().__init__(nb, progress_bar=False)
        self.path, self.on_cell, self.error, self.position = path, on_cell, None, None
        self.numbers = [i for i, cell in enumerate(nb.cells) if _runs(cell)]
        self.began = time.monotonic()

    def save(self, **kwargs):
        if self.path is not None:
            write_atomically(self.path, nbformat.writes(self.nb))
        self.last_save_time = self.now()

    def cell_start(self, cell, cell_index=None, **kwargs):
        cell.metadata.papermill.update(start_time=self.now().isoformat(), exception=False,
                                       status=self.RUNNING)
        self.position, self.began = cell_index, time.monotonic()
        self._tell(cell_index, "running", 0.0)

    def cell_exception(self, cell, cell_index=None, **kwargs):
        super().cell_exception(cell, cell_index=cell_index)
        error = kwargs["exception"]
        self.error = self.failure(error.ename, ANSI.sub("", str(error.evalue)))

    def cell_complete(self, cell, cell_index=None, **kwargs):
        seconds, mark = time.monotonic() - self.began, cell.metadata.papermill
        mark.update(end_time=self.now().isoformat(), duration=round(seconds, 3))
        if mark["status"] != self.FAILED:
            mark["status"] = self.COMPLETED
        if _runs(cell):
            self.save()
        self._tell(cell_index, mark["status"], seconds)

    def notebook_complete(self, **kwargs):
        """Say when it ended; cells that were never reached stay pending."""
        end = self.now()
        self.nb.metadata.papermill.update(end_time=end.isoformat(),
                                          duration=(end - self.start_time).total_seconds())
        if self.error:
            self.nb.metadata.papermill["exception"] = True
        self.save()

    def failure(self, name: str, message: str) -> dict:
        """Where the run is now, for result.json and for people."""
        if self.position is None or self.position not in self.numbers:
            return self._error(0, "", "", name, message)
        lines = [line.strip() for line in self.nb.cells[self.position].source.splitlines()]
        line = next((t for t in lines if t and not t.startswith("#")), lines[0])
        return self._error(self.numbers.index(self.position) + 1, self._heading(self.position),
                           line, name, message)

    def _error(self, cell, heading, line, name, message):
        self.error = {"cell": cell, "heading": heading, "line": line, "name": name,
                      "message": message}
        return self.error

    def _heading(self, index):
        for cell in reversed(self.nb.cells[:index]):
            found = re.findall(r"^#{1,6}\s+(.+)$", cell.source, re.M)
            if cell.cell_type == "markdown" and found:
                return found[-1].strip()
        return ""

    def _tell(self, index, state, seconds):
        if self.on_cell and index in self.numbers:
            self.on_cell(CellEvent(self.numbers.index(index) + 1, len(self.numbers),
                                   self._heading(index), state, seconds))


def _needs_jax(nb) -> bool:
    """Whether a cell speaks of jax, or of otlab, which brings it."""
    return any(_runs(cell) and re.search(r"\b(jax|otlab)\b", cell.source) for cell in nb.cells)


def _runs(cell) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _keep(result: RunResult, html: bool, title: str) -> None:
    if result.out is None:
        return
    write_atomically(result.out / "result.json", dumps(result.data()))
    if html:
        from otlab.lab.execution.page import page

        write_atomically(result.out / "page.html", page(result.notebook, title))


def free_folder(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, … when it already holds something.

    Raises:
        RunFailed: when a file stands there, or the folder cannot be made.
    """
    tried, number = folder, 1
    while tried.exists() and (not tried.is_dir() or any(tried.iterdir())):
        if tried == folder and not tried.is_dir():
            raise RunFailed(f"--out {folder} is a file; name a folder.")
        number += 1
        tried = folder.with_name(f"{folder.name}-{number}")
    try:
        tried.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(f"--out {folder} cannot be made: {error.strerror}.") from error
    if not os.access(tried, os.W_OK):
        raise RunFailed(f"--out {tried} is not writable.")
    return tried
