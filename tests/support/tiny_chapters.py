"""Tiny chapters for the tests of the runner: written to a folder, quick to run."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PARAMETERS = """epsilon = 0.1  # units of std(C)
n = 4
budget = "page"  # smoke | page
"""
CLAIM = """
class Result:
    def _repr_mimebundle_(self, include=None, exclude=None):
        claim = {"number": 1, "claim": "half of n", "source": "eq. 1", "claimed": "n / 2",
                 "measured": str(n / 2), "mean": n / 2, "interval": [n / 2 - 1, n / 2 + 1],
                 "seeds": 5, "verdict": "reproduced", "note": "", "command": ""}
        found = {"number": 1, "found": "twice n", "measured": str(2 * n), "mean": 2 * n,
                 "interval": [2 * n - 1, 2 * n + 1], "standing": "found here", "note": ""}
        return {"application/vnd.otlab.result+json":
                {"schema": "otlab.claims/2", "claims": [claim], "found": [found],
                 "scalars": {"loss": epsilon}},
                "text/plain": "a table"}
Result()
"""


def write_chapter(folder: Path, *code: str, name: str = "tiny", parameters: str = PARAMETERS,
                  prose: str = "# A tiny chapter\n\nWith $a < b$.") -> Path:
    """A notebook: prose, the parameters cell, then '## Work' and the code cells."""
    def cell(kind, source, tags=()):
        made = {"cell_type": kind, "id": f"c{len(cells)}", "metadata": {"tags": list(tags)},
                "source": source}
        return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})

    cells = []
    for kind, source, tags in (("markdown", prose, ()), ("code", parameters, ("parameters",)),
                               ("markdown", "## Work", ()), *(("code", c, ()) for c in code)):
        cells.append(cell(kind, source, tags))
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "cells": cells, "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"otlab": {"summary": "Says little.", "minutes": 3},
                     "kernelspec": {"name": "no-such-kernel", "display_name": "?",
                                    "language": "python"}}}))
    return path


def otlab(*arguments: str, notebooks: Path, cwd: Path, background: bool = False,
          **settings) -> subprocess.Popen:
    """The command line in a process group of its own, with `notebooks` as its chapters.

    background: started as by `otlab ... &` in a script, which is deaf to Ctrl-C. Whether these
    tests were started that way is no part of it.
    """
    environment = os.environ | {"OTLAB_NOTEBOOKS": str(notebooks)}
    before = signal.signal(signal.SIGINT,
                           signal.SIG_IGN if background else signal.default_int_handler)
    try:
        return subprocess.Popen([sys.executable, "-m", "otlab.lab.cli", *arguments], cwd=cwd,
                                env=environment, start_new_session=True, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for(process: subprocess.Popen, condition, seconds: float = 300) -> None:
    """Until condition() holds; fails with what the process said when it ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(FileNotFoundError):
            if condition():
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"it did not come so far: {process.communicate()[0]}")
