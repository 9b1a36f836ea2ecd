"""Many runs of one chapter on Dask workers: resumable, each finished run on disk at once.

DIR/runs/<key>/ holds notebook.ipynb and result.json of one point; the key is made from the
chapter's cells, the parameters, the budget and otlab's source, so a run is repeated exactly when
something that decides its result has changed. Dask restarts a killed worker and gives its run to
another; a killed kernel is replaced. Results travel to this process, which alone writes.
"""

import logging
import os
import signal
import uuid
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otlab.lab.execution.chapters import Chapter, cache, find_chapter
from otlab.lab.execution.parameters import LabError
from otlab.lab.execution.result import dumps, read_result, write_atomically
from otlab.lab.execution.run import execute
from otlab.lab.sweeps.grid import Grid, run_key

_SWEEP = uuid.uuid4().hex  # this process's sweeps, among those of one cluster
ANSWER = 10  # seconds that a scheduler has to answer
ATTEMPTS = 3  # of one run whose kernel or worker dies


class SweepStopped(LabError):
    """The sweep could not go on; what finished is kept."""

    code = 1


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to. repeated: runs found finished. failed: their points and errors."""

    out: Path
    total: int
    repeated: int
    failed: list[dict] = field(default_factory=list)
    files: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What was done and where it is; with failures, the first of them."""
        text = f"{self.total - len(self.failed)} of {self.total} runs finished"
        if self.repeated:
            text += f" ({self.repeated} of them earlier)"
        text += f"; {self.out}/: {', '.join(self.files)}."
        for failure in self.failed[:5]:
            text += f"\n  failed at {failure['at']}: {failure['why']}"
        if len(self.failed) > 5:
            text += f"\n  and {len(self.failed) - 5} more; see the table."
        return text


def sweep(chapter: Chapter, grid: Grid, *, out: Path | str, workers: int = 2,
          scheduler: str | None = None, fresh: bool = False, timeout: float | None = None,
          stream=None) -> Sweep:
    """Run a chapter at every point of a grid; write table.parquet, table.csv and plots.

    Args:
        chapter: from `find_chapter`.
        grid: from `read_grid` or `make_grid`.
        out: folder of the sweep; finished runs in it are not repeated.
        workers: processes on this machine, one run at a time each.
        scheduler: address of a Dask cluster whose workers have otlab; replaces `workers`.
        fresh: a new kernel for each run instead of a wiped one per worker.
        timeout: seconds that one cell may take.
        stream: where progress goes (standard error).

    Raises:
        SweepStopped: when the cluster cannot be reached or is lost.
        KeyboardInterrupt: on Ctrl-C, after the table of finished runs was written.
    """
    from otlab.lab.execution.progress import run_progress

    out = _folder(Path(out))
    points = {run_key(chapter, point): point for point in grid.points}
    finished = {key for key in points if _finished(out, key)}
    jobs = [_job(chapter, key, point, fresh, timeout) for key, point in points.items()
            if key not in finished]
    complete = False
    try:
        if jobs:
            with _cluster(min(workers, len(jobs)), scheduler) as client, \
                    run_progress(len(points), len(finished), stream) as tell:
                _collect(client, jobs, out, grid.swept, points, tell)
        complete = True
    finally:
        from otlab.lab.sweeps.table import write_table

        files = write_table(out, chapter, grid.swept, points, plot=complete)
    results = {key: read_result(out / "runs" / key) for key in points}
    failed = [{"at": _label(grid.swept, points[key]), "why": _why(result)}
              for key, result in results.items() if not result or result["status"] != "ok"]
    return Sweep(out, len(points), len(finished), failed, files)


def run_point(job: Mapping[str, Any]) -> dict:
    """One run, on a worker: its result and its notebook as text."""
    chapter = _chapter_here(job)
    for _attempt in range(ATTEMPTS):
        result = execute(chapter, parameters=job["parameters"], html=False,
                         timeout=job["timeout"], warm=not job["fresh"])
        died = result.error and result.error["name"] == "KernelDied"
        if not died or job["sweep"] in _stopped:
            break
    import nbformat

    return {"result": result.data(), "notebook": nbformat.writes(result.notebook)}


_stopped: set[str] = set()  # sweeps that were given up, on this worker


def stop_runs(sweep_id: str) -> None:
    """On a worker: end what runs now, and start it no more."""
    from otlab.lab.execution.kernels import kill_all

    _stopped.add(sweep_id)
    kill_all()


class _KernelsEndWithWorker:
    """A Dask worker plugin: no kernel outlives its worker. shield: ignore the terminal's Ctrl-C,
    which reaches a local worker too; the sweep itself answers it."""

    name = "otlab-kernels"

    def __init__(self, shield: bool):
        self.shield = shield

    def setup(self, worker):
        if self.shield:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker):
        from otlab.lab.execution.kernels import kill_all

        kill_all()


@contextmanager
def _cluster(workers: int, scheduler: str | None):
    """A Dask client on a quiet local cluster, or on the one at `scheduler`."""
    os.environ.setdefault("DASK_CONFIG", str(cache() / "dask"))  # read as dask is imported
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin

    _hush()
    plugin = type("_Plugin", (_KernelsEndWithWorker, WorkerPlugin), {})
    settings = {"distributed.scheduler.allowed-failures": ATTEMPTS - 1,
                "distributed.comm.timeouts.connect": "30s",
                "distributed.worker.profile.enabled": False}
    with dask.config.set(settings):
        local = None
        if scheduler is None:
            local = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True,
                                 host="127.0.0.1", memory_limit=0,
                                 dashboard_address="127.0.0.1:0",  # None asks for 8787
                                 silence_logs=logging.CRITICAL,
                                 local_directory=str(cache() / "dask"))
        try:
            client = Client(local or scheduler, timeout=60 if local else ANSWER,
                            set_as_default=False)
        except (OSError, ValueError) as error:
            raise SweepStopped(f"no Dask scheduler answered at {scheduler!r}; start one with "
                               "`dask scheduler`, or leave --scheduler away.") from error
        try:
            client.register_plugin(plugin(shield=local is not None))
            _wait_for_workers(client, scheduler)
            yield client
        finally:
            with suppress(Exception):  # a cluster that died has nothing left to close
                client.close(timeout=5)
            if local is not None:
                with suppress(Exception):
                    local.close(timeout=20)


def _hush():
    """Dask reports each lost connection; a sweep says in its own words what matters."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado"):
            logger = logging.getLogger(name)
            logger.handlers[:] = [logging.NullHandler()]
            logger.propagate = False


def _wait_for_workers(client, scheduler):
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError as error:
        raise SweepStopped(f"the scheduler at {scheduler or 'this machine'} has no workers after "
                           "60 s; start some with `dask worker ADDRESS`.") from error


def _collect(client, jobs, out, swept, points, tell):
    """Submit everything, write each run the moment it arrives."""
    from distributed import as_completed

    futures = {client.submit(run_point, job, key=f"otlab-{job['key']}-{job['sweep']}", pure=False):
               job["key"] for job in jobs}
    try:
        for future in as_completed(futures, loop=client.loop):
            key = futures[future]
            at = _label(swept, points[key])
            if future.status == "finished":
                answer = future.result()
                keep_run(out / "runs" / key, answer["result"], answer["notebook"])
                result = answer["result"]
                tell(f"{at}: {result['seconds']:.1f} s" if result["status"] == "ok"
                     else f"{at}: FAILED, {_why(result)}")
            elif future.status == "error":
                error = {"cell": 0, "heading": "", "line": "", "name": "WorkerDied",
                         "message": f"its worker died {ATTEMPTS} times "
                                    f"({type(future.exception()).__name__})."}
                keep_run(out / "runs" / key, {"status": "failed", "seconds": 0.0, "claims": [],
                                              "parameters": points[key], "error": error})
                tell(f"{at}: FAILED, {_why({'error': error})}")
            else:
                raise SweepStopped(f"the Dask cluster was lost; finished runs are in {out}, and "
                                   "the same command goes on from there.")
            future.release()
    except BaseException:
        with suppress(Exception):
            client.cancel(list(futures), force=True)
            client.run(stop_runs, jobs[0]["sweep"], on_error="ignore")
        raise


def keep_run(folder: Path, result: dict, notebook: str | None = None) -> None:
    """Write a run's files; result.json comes last, so its presence means that all is there."""
    if notebook is not None:
        write_atomically(folder / "notebook.ipynb", notebook)
    write_atomically(folder / "result.json", dumps(result))


def _job(chapter, key, point, fresh, timeout) -> dict:
    return {"key": key, "path": str(chapter.path), "parameters": point, "fresh": fresh,
            "sweep": _SWEEP, "timeout": timeout, "source": chapter.path.read_text(encoding="utf-8")}


def _chapter_here(job) -> Chapter:
    """The chapter on this worker: its own file, or a copy where that is missing or differs."""
    path = Path(job["path"])
    if not path.is_file() or path.read_text(encoding="utf-8") != job["source"]:
        path = cache() / "sweep" / job["key"] / path.name
        write_atomically(path, job["source"])
    return find_chapter(path)


def _folder(out: Path) -> Path:
    if out.exists() and not out.is_dir():
        raise LabError(f"--out {out} is a file; name a folder.")
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"--out {out} cannot be made: {error.strerror}.") from error
    return out


def _finished(out: Path, key: str) -> bool:
    result = read_result(out / "runs" / key)
    return bool(result) and result.get("status") == "ok"


def _label(swept, point) -> str:
    return ", ".join(f"{name}={point[name]}" for name in swept)


def _why(result: dict | None) -> str:
    error = (result or {}).get("error")
    if not error:
        return "it did not run"
    where = f"code cell {error['cell']}, " if error["cell"] else ""
    return f"{where}{error['name']}: {error['message']}"
