"""A pytest plugin beside nbval: what it executes is kept, so that no chapter runs twice.

    pytest -p otlab.lab.execution.nbval_plugin --nbval-lax --keep-executed DIR notebooks

nbval runs the cells and judges them; this plugin only listens. Each notebook whose cells all
passed leaves DIR/<stem> as `otlab.lab.execution.run.execute` would: notebook.ipynb with outputs,
result.json, and the fingerprint of what it depended on. One that failed leaves nothing there.

The kernels of one worker are forks of a process that has imported what chapters import, each as
fresh as a new kernel (`otlab.core.ready`); OTLAB_READY=off starts new ones instead.
"""

import ast
import copy
import datetime
import os
import shutil
import time
from pathlib import Path
from queue import Empty

import nbformat
import pytest

from otlab.core import ready
from otlab.lab.budget import VARIABLE as BUDGET_VARIABLE
from otlab.lab.execution.chapters import read_chapter
from otlab.lab.execution.fingerprint import fingerprint
from otlab.lab.execution.forked import fork_kernels
from otlab.lab.execution.kernels import INSIDE
from otlab.lab.execution.result import RunResult, dumps, gather, write_atomically

READY = pytest.StashKey()


def pytest_addoption(parser):
    """The option --keep-executed DIR."""
    parser.getgroup("nbval").addoption(
        "--keep-executed", metavar="DIR",
        help="keep each executed notebook, with its result.json, in a folder of DIR")


def pytest_configure(config):
    """Listen to the cells when there is a folder to keep them in."""
    if config.getoption("keep_executed"):
        config.pluginmanager.register(Keeper(config.rootpath,
                                             Path(config.getoption("keep_executed"))),
                                      "keep-executed")


def pytest_sessionstart(session):
    """Begin the imports while the notebooks are collected, in the process that will run them."""
    config = session.config
    runs = hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)
    if config.getoption("keep_executed") and runs and os.name == "posix" \
            and ready.VARIABLE not in os.environ:
        config.stash[READY] = ready.Ready()
        os.environ[ready.VARIABLE] = config.stash[READY].path
        fork_kernels()


def pytest_unconfigure(config):
    """End the warm process."""
    if READY in config.stash:
        os.environ.pop(ready.VARIABLE, None)
        config.stash[READY].close()


class Keeper:
    """Gathers the outputs of the notebook that runs now, and writes them when all cells passed."""

    def __init__(self, root: Path, folder: Path):
        self.root, self.folder = root, root / folder
        self.notebook, self.outputs, self.failed, self.start = None, {}, False, 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        """A cell of another notebook begins a new gathering."""
        if _is_cell(item) and item.parent is not self.notebook:
            self.notebook, self.outputs, self.failed = item.parent, {}, False
            self.start = time.monotonic()
            shutil.rmtree(self.folder / item.path.stem, ignore_errors=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Each cell leaves its outputs; one that was skipped leaves none."""
        report = yield
        if _is_cell(item):
            self.failed |= report.failed or (report.when == "setup" and report.skipped)
            if report.when == "call":
                self.outputs[item.cell_num] = copy.deepcopy(item.test_outputs or [])
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item, nextitem):
        """After a notebook's last cell, while its kernel still lives."""
        last = nextitem is None or nextitem.parent is not item.parent
        if _is_cell(item) and last and not self.failed:
            self._keep(item.parent, time.monotonic() - self.start)

    def _keep(self, notebook, seconds):
        code = [cell for cell in notebook.nb.cells if cell.cell_type == "code"]
        if len(self.outputs) < len(code):  # only some cells were chosen
            return
        nb = copy.deepcopy(notebook.nb)
        for number, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
            cell.outputs, cell.execution_count = self.outputs[number], number + 1
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = number + 1
        nbformat.validate(nb)
        chapter = read_chapter(notebook.path)
        claims, found, scalars = gather(nb)
        budget = os.environ.get(BUDGET_VARIABLE)
        out = self.folder / notebook.path.stem
        result = RunResult(
            chapter=chapter.name, budget=budget, seconds=round(seconds, 2), status="ok",
            parameters={name: p.default for name, p in (chapter.parameters or {}).items()},
            claims=claims, found=found, scalars=scalars,
            date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            **_facts(notebook.kernel))
        write_atomically(out / "notebook.ipynb", nbformat.writes(nb))
        write_atomically(out / "result.json", dumps(result.data()))
        write_atomically(out / "fingerprint", fingerprint(self.root, notebook.path, budget))


def _is_cell(item) -> bool:
    return hasattr(item, "cell_num") and hasattr(item.parent, "nb")


def _facts(kernel) -> dict:
    """Versions and device, as the kernel knows them."""
    sent = kernel.kc.execute("", silent=True, store_history=False,
                             user_expressions={"facts": f"{INSIDE}.facts()"})
    while True:
        try:
            message = kernel.get_message("shell", timeout=60)
        except Empty:
            raise RuntimeError("the kernel does not say what it ran on") from None
        if message["parent_header"].get("msg_id") == sent:
            answer = message["content"]["user_expressions"]["facts"]
            return ast.literal_eval(answer["data"]["text/plain"])
