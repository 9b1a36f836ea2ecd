"""Kernels of this very interpreter: started without any installed kernelspec, warm or fresh."""

import ast
import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient

from otlab.lab.execution.chapters import cache, compiled

INSIDE = "__import__('otlab.lab.execution.inside', fromlist=['inside'])"
RUNS_PER_KERNEL = 50  # then a new one: compiled functions of past runs stay in memory
QUIET = logging.getLogger("otlab.kernels")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class KernelDied(RuntimeError):
    """The kernel's process ended by itself: killed, or out of memory."""


class CellTooSlow(RuntimeError):
    """A cell ran longer than the limit."""


class _ThisPython(KernelSpecManager):
    """Knows one kernel, the interpreter that runs now, whatever is installed elsewhere."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
                "--HistoryManager.hist_file=:memory:"]
        return KernelSpec(argv=argv, display_name="OT Lab", language="python")


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """A kernel's environment: ours, inline figures, and tools that write under .cache only."""
    folder = cache()
    settings = dict(os.environ)
    settings.setdefault("IPYTHONDIR", str(folder / "ipython"))
    settings.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    settings["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    settings.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several share one GPU
    settings["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    return settings | compiled() | (extra or {})


def _scratch() -> Path:
    """A new folder for sockets and logs, named after this process; those of dead ones go."""
    base = cache() / "kernels"
    if len(str(base)) > 60:  # the path of a socket holds 107 bytes
        base = Path(tempfile.gettempdir()) / "otlab-kernels"
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob("*-*") if os.name == "posix" else ():
        with suppress(ValueError, PermissionError):
            try:
                os.kill(int(old.name.split("-")[0]), 0)
            except ProcessLookupError:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))


class Kernel:
    """One kernel process with its client and its own event loop; for one thread at a time.

    cwd: the folder it starts in. extra: environment variables on top of `environment`.
    """

    def __init__(self, cwd: Path | str, extra: dict[str, str] | None = None):
        self.cwd, self.extra, self.runs = str(cwd), dict(extra or {}), 0
        self._runner = asyncio.Runner()
        self._scratch = _scratch()
        try:
            self._runner.run(self._start())
        except BaseException:
            self.stop()
            raise

    async def _start(self):
        self._km = AsyncKernelManager(kernel_name="otlab", kernel_spec_manager=_ThisPython())
        self._km.connection_file = str(self._scratch / "kernel.json")
        if os.name == "posix":  # sockets in the scratch folder: no port can be busy
            self._km.transport, self._km.ip = "ipc", str(self._scratch / "s")
        with open(self._scratch / "log", "wb") as log:
            await self._km.start_kernel(cwd=self.cwd, env=environment(self.extra),
                                        stdout=log, stderr=log)
        _started.add(self.pid)
        self._kc = self._km.client()
        self._kc.start_channels()
        self._kc.allow_stdin = False
        try:
            await self._kc.wait_for_ready(timeout=120)
        except RuntimeError as error:
            raise KernelDied(f"the kernel did not start: {self._last_words()}") from error

    @property
    def pid(self) -> int:
        """The process, for messages and tests."""
        return self._km.provisioner.pid

    def run(self, nb, watch, *, timeout: float | None = None) -> None:
        """Execute every code cell of nb in place, until one fails; `watch` is told of each.

        Raises:
            KernelDied, CellTooSlow: after which this kernel must be stopped.
            KeyboardInterrupt: on Ctrl-C in the main thread; the same.
        """
        self.runs += 1
        client = _Client(watch, km=self._km, timeout=timeout, log=QUIET)
        client.kc = self._kc
        self._runner.run(self._guard(client.run_cells()))

    async def _guard(self, work):
        try:
            await work
        except CellTimeoutError as error:
            raise CellTooSlow(str(error).split("\n")[0]) from error
        except DeadKernelError as error:
            if asyncio.current_task().cancelling():  # Ctrl-C looks like this to nbclient
                raise asyncio.CancelledError from None
            raise KernelDied(f"the kernel died: {self._last_words()}") from error

    def ask(self, expression: str):
        """The value of a Python expression in the kernel, when its repr is a literal."""
        return self._runner.run(self._ask(expression))

    async def _ask(self, expression):
        if not await self._km.is_alive():
            raise KernelDied(f"the kernel died: {self._last_words()}")
        reply = await self._kc.execute_interactive(
            "", silent=True, store_history=False, user_expressions={"answer": expression},
            allow_stdin=False, timeout=60, output_hook=lambda message: None)
        answer = reply["content"]["user_expressions"]["answer"]
        if answer["status"] != "ok":
            raise RuntimeError(f"{answer['ename']}: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])

    def stop(self) -> None:
        """End the process and remove its scratch folder; safe to call twice."""
        with suppress(Exception):
            self._runner.run(self._stop())
        with suppress(Exception):
            self._runner.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _stop(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}  # left by a KeyboardInterrupt
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2)
        if getattr(self, "_kc", None) is not None:
            self._kc.stop_channels()
        _started.discard(self.pid)
        await self._km.shutdown_kernel(now=True)

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = (self._scratch / "log").read_text(errors="replace").split("\n")
            lines = [line.strip() for line in lines if line.strip()]
            if lines:
                return f"its last line was {lines[-1][:200]!r}."
        return "it was killed, or the machine ran out of memory."


class _Client(PapermillNotebookClient):
    """papermill's client, awaited in our loop so that Ctrl-C ends a cell in order."""

    async def run_cells(self):
        self.reset_execution_trackers()
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            try:
                await self.async_execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], index, exception=error)
                break
            except BaseException:  # the kernel died, time is up, Ctrl-C
                cell.metadata.papermill["status"] = self.nb_man.FAILED
                raise
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], index)


_idle: list[Kernel] = []
_started: set[int] = set()  # processes of this process's kernels
_lock = threading.Lock()


@contextmanager
def kernel(cwd: Path | str, extra: dict[str, str] | None = None, *, warm: bool = False,
           with_jax: bool = True):
    """A kernel for one run: new, or with ``warm`` one that this process kept and has wiped.

    with_jax: the run will import jax. A kernel that ran into an error of its own (dead, too
    slow, Ctrl-C) is not kept.
    """
    kept = _take(str(cwd), dict(extra or {})) if warm else None
    current = kept or Kernel(cwd, extra)
    try:
        if warm and kept is None:
            current.ask(f"{INSIDE}.remember({with_jax})")
        yield current
    except BaseException:
        current.stop()
        raise
    if warm and current.runs < RUNS_PER_KERNEL and _wiped(current):
        with _lock:
            _idle.append(current)
    else:
        current.stop()


def stop_idle() -> None:
    """End every kept kernel of this process."""
    with _lock:
        kept, _idle[:] = list(_idle), []
    for current in kept:
        current.stop()


def kill_all() -> None:
    """End every kernel of this process at once, busy or not; its runs raise KernelDied."""
    for pid in list(_started):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def _take(cwd: str, extra: dict[str, str]) -> Kernel | None:
    while True:
        with _lock:
            match = next((k for k in _idle if (k.cwd, k.extra) == (cwd, extra)), None)
            if match is None:
                return None
            _idle.remove(match)
        try:
            match.ask("1")  # killed while it waited?
            return match
        except Exception:
            match.stop()


def _wiped(current: Kernel) -> bool:
    try:
        return current.ask(f"{INSIDE}.wipe()")
    except Exception:
        return False
