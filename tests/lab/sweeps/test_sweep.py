"""Sweeps: typed grids, warm workers, deaths, resuming, and one tidy table."""

import contextlib
import json
import os
import signal

import pandas as pd
import pytest
from tiny_chapters import CLAIM, otlab, wait_for, write_chapter

from otlab.lab.execution import kernels
from otlab.lab.execution.chapters import find_chapter
from otlab.lab.execution.parameters import LabError, ParameterError
from otlab.lab.sweeps import sweep as sweeps
from otlab.lab.sweeps.grid import make_grid, read_grid, run_key, source_hash
from otlab.lab.sweeps.sweep import SweepStopped, keep_run, run_point, sweep
from otlab.lab.sweeps.table import write_table

# n = 7 kills its worker once, n = 8 its kernel once, n = 9 its kernel always, n = 13 fails.
DEATHS = """
import os, pathlib, signal, time
print("pid", os.getpid(), os.getppid(), "leaked" in globals())
leaked = True
here = pathlib.Path("marks"); here.mkdir(exist_ok=True)
with open(here / "log", "a") as log:
    log.write(f"{n} ")
first = not (here / str(n)).exists()
(here / str(n)).touch()
if n == 7 and first:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if (n == 8 and first) or n == 9:
    os.kill(os.getpid(), signal.SIGKILL)
if n == 13:
    raise ValueError("unlucky")
if n == 14:
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_ceiling(monkeypatch):
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)


@pytest.fixture
def chapter(tmp_path):
    return find_chapter(write_chapter(tmp_path / "notebooks", DEATHS, CLAIM))


@pytest.fixture
def no_cluster(monkeypatch):
    def refuse(*args):
        raise AssertionError("a cluster was started")
    monkeypatch.setattr(sweeps, "_cluster", refuse)


def pids(out, key):
    """(kernel, worker, leaked) as a run's first cell printed them."""
    text = (out / "runs" / key / "notebook.ipynb").read_text()
    words = text.split("pid ")[-1].split("\\n")[0].split()
    return int(words[0]), int(words[1]), words[2] == "True"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One sweep in which a worker dies, kernels die, and a point fails."""
    folder = tmp_path_factory.mktemp("swept")
    chapter = find_chapter(write_chapter(folder / "notebooks", DEATHS, CLAIM))
    grid = make_grid(chapter, {"n": [3, 4, 5, 6, 7, 8, 9, 13]}, {"epsilon": 0.5}, "smoke")
    return chapter, grid, sweep(chapter, grid, out=folder / "out", workers=2)


def test_deaths_lose_no_run_and_failures_are_recorded(swept):
    chapter, grid, done = swept
    assert (done.total, done.repeated) == (8, 0)
    assert sorted(f["at"] for f in done.failed) == ["n=13", "n=9"]
    assert "unlucky" in done.sentence() and "6 of 8 runs finished" in done.sentence()
    log = (chapter.path.parent / "marks" / "log").read_text().split()
    assert (log.count("3"), log.count("7"), log.count("8")) == (1, 2, 2)
    assert log.count("9") == sweeps.ATTEMPTS  # tried again, but not for ever
    failed = json.loads((done.out / "runs" / run_key(chapter, grid.points[7])
                         / "result.json").read_text())
    assert failed["error"]["name"] == "ValueError" and failed["error"]["cell"] >= 2


def test_kernels_stay_warm_and_forget(swept):
    chapter, grid, done = swept
    seen = [pids(done.out, run_key(chapter, p)) for p in grid.points if p["n"] < 7]
    assert len({kernel for kernel, _, _ in seen}) < len(seen)
    assert not any(leaked for _, _, leaked in seen)


def test_the_table_is_tidy_and_the_plot_is_there(swept):
    chapter, grid, done = swept
    table = pd.read_parquet(done.out / "table.parquet")
    again = pd.read_csv(done.out / "table.csv")
    assert list(table.columns) == list(again.columns) and len(table) == len(again)
    assert list(table.columns[:5]) == ["run", "epsilon", "n", "budget", "status"]
    ok = table[table["status"] == "ok"]
    claims, scalars = ok[ok["kind"] == "claim"], ok[ok["kind"] == "scalar"]
    assert len(claims) == len(scalars) == 6 and table["run"].nunique() == 8
    assert (claims["value"] == claims["n"] / 2).all()
    assert (claims["low"] == claims["n"] / 2 - 1).all() and set(claims["number"]) == {1}
    assert set(claims["verdict"]) == {"reproduced"} and set(claims["metric"]) == {"half of n"}
    found = ok[ok["kind"] == "found"]
    assert (found["value"] == 2 * found["n"]).all() and set(found["verdict"]) == {"found here"}
    assert (scalars["value"] == scalars["epsilon"]).all() and set(scalars["metric"]) == {"loss"}
    assert set(table["budget"]) == {"smoke"}
    errors = table[table["status"] == "failed"]
    assert len(errors) == 2 and errors["error"].str.contains("unlucky|KernelDied").all()
    assert (done.out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "half of n" in (done.out / "plot.svg").read_text()


def test_a_plot_has_a_line_for_each_other_value(chapter, tmp_path):
    grid = make_grid(chapter, {"budget": ["smoke", "page"], "epsilon": [0.01, 1], "n": [2, 3]})
    points = {run_key(chapter, p): p for p in grid.points}
    assert write_table(tmp_path, chapter, grid.swept, points) == ()
    for key, p in points.items():
        claim = {"number": 1, "claim": "c", "mean": p["epsilon"] * p["n"], "measured": "text",
                 "interval": [0, 1], "verdict": "refuted"}
        words = {"number": 2, "claim": "in words", "mean": None, "measured": "larger",
                 "interval": None, "verdict": "reproduced"}
        keep_run(tmp_path / "runs" / key, {"status": "ok", "seconds": 1, "claims": [claim, words]})
    names = write_table(tmp_path, chapter, grid.swept, points)
    assert names == ("table.parquet", "table.csv", "plot.png", "plot.svg")
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert len(table) == 16 and table["value"].isna().sum() == 8
    assert set(table[table["value"].isna()]["measured"]) == {"larger"}
    svg = (tmp_path / "plot.svg").read_text()
    assert svg.count("<!-- budget = smoke, n = 2 -->") == 1 and "<!-- budget = page, n = 3" in svg
    assert "in words" not in svg  # nothing to draw


def test_a_saved_run_is_no_measurement_of_a_point(chapter, tmp_path):
    grid = make_grid(chapter, {"epsilon": [0.1, 0.5]}, {"n": 2}, "smoke")
    points = {run_key(chapter, p): p for p in grid.points}
    for key, p in points.items():
        saved = {"number": 1, "claim": "from disk", "mean": 3.0, "measured": "3 ± 1",
                 "interval": [2, 4], "verdict": "refuted", "stored": True,
                 "differs": ["epsilon"] if p["epsilon"] != 0.1 else []}
        own = {"number": 2, "claim": "measured here", "mean": p["epsilon"], "measured": "",
               "interval": [0, 1], "verdict": "refuted", "stored": False}
        keep_run(tmp_path / "runs" / key, {"status": "ok", "seconds": 1, "claims": [saved, own]})
    write_table(tmp_path, chapter, grid.swept, points)
    table = pd.read_csv(tmp_path / "table.csv").set_index(["metric", "epsilon"])
    assert table.loc[("from disk", 0.1), "value"] == 3.0 and table["stored"].sum() == 2
    elsewhere = table.loc[("from disk", 0.5)]
    assert elsewhere[["value", "low", "high", "measured", "verdict"]].isna().all()
    svg = (tmp_path / "plot.svg").read_text()
    assert "measured here" in svg and "from disk" not in svg


def test_finished_runs_are_not_repeated(swept, no_cluster):
    chapter, grid, done = swept
    good = make_grid(chapter, {"n": [4, 3]}, {"epsilon": 0.5}, "smoke")
    again = sweep(chapter, good, out=done.out)
    assert (again.total, again.repeated, again.failed) == (2, 2, [])
    assert set(pd.read_csv(done.out / "table.csv")["n"]) == {3, 4}
    with pytest.raises(AssertionError, match="cluster"):  # failed ones are
        sweep(chapter, make_grid(chapter, {"n": [13]}, {"epsilon": 0.5}, "smoke"), out=done.out)
    (done.out / "runs" / run_key(chapter, good.points[0]) / "result.json").write_text("{")
    with pytest.raises(AssertionError, match="cluster"):  # and those cut short
        sweep(chapter, good, out=done.out)


def test_invariant_warm_and_fresh_agree(chapter):
    answers = {}
    for fresh in (False, False, True):
        job = {"key": "k", "sweep": "s", "path": str(chapter.path), "fresh": fresh,
               "timeout": None, "source": chapter.path.read_text(),
               "parameters": {"epsilon": 0.25, "n": 6, "budget": "page"}}
        result = run_point(job)["result"]
        varying = ("date", "seconds", "versions")
        answers.setdefault(fresh, []).append({k: v for k, v in result.items()
                                              if k not in varying})
    kernels.stop_idle()
    assert answers[False][0] == answers[False][1] == answers[True][0]
    assert answers[True][0]["status"] == "ok" and answers[True][0]["claims"][0]["mean"] == 3.0


def test_an_existing_cluster_serves_without_the_file(chapter, tmp_path):
    from distributed import LocalCluster

    grid = make_grid(chapter, {"n": [3]})
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False,
                      dashboard_address=None) as cluster:
        job = sweeps._job(chapter, run_key(chapter, grid.points[0]), grid.points[0], True, None)
        chapter.path.rename(tmp_path / "elsewhere.ipynb")  # a worker on another machine
        assert run_point(job)["result"]["status"] == "ok"
        (tmp_path / "elsewhere.ipynb").rename(chapter.path)
        done = sweep(chapter, grid, out=tmp_path / "out", scheduler=cluster.scheduler_address)
        assert done.failed == [] and done.files
        assert cluster.status.name == "running"  # it is not ours to close
    kernels.stop_idle()


def test_failure_of_a_scheduler_is_a_sentence(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "ANSWER", 1)
    grid = make_grid(chapter, {"n": [3]})
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(SweepStopped, match="no Dask scheduler answered at"):
            sweep(chapter, grid, out=tmp_path / "out", scheduler=address)


def test_failure_of_an_out_that_is_a_file(chapter, tmp_path, no_cluster):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="file is a file; name a folder"):
        sweep(chapter, make_grid(chapter, {"n": [3]}), out=tmp_path / "file")


def test_a_grid_is_the_product_without_repeats(chapter):
    grid = read_grid(chapter, ["epsilon=1,1.0,0.5", "n=2,3"], ["budget=smoke"])
    assert grid.swept == ("epsilon", "n")
    assert [(p["epsilon"], p["n"]) for p in grid.points] == [(1.0, 2), (1.0, 3), (0.5, 2), (0.5, 3)]
    assert all(p["budget"] == "smoke" for p in grid.points)


@pytest.mark.parametrize("grids, pairs, budget, said", [
    ([], [], None, "needs a grid"), (["n=1,2.5"], [], None, "n wants a whole number"),
    (["n=1", "n=2"], [], None, "--grid n is given twice"), (["n=1,"], [], None, "whole number"),
    (["n=1"], ["n=2"], None, "n is swept and fixed"), (["m=1"], [], None, "no parameter 'm'"),
    (["budget=page"], [], "smoke", "budget is swept and fixed"), (["n"], [], None, "name=value"),
    (["budget=page,paper"], [], None, "one of smoke, page"),
])
def test_failure_of_a_grid_comes_before_anything_starts(chapter, grids, pairs, budget, said):
    with pytest.raises(ParameterError, match=said):
        read_grid(chapter, grids, pairs, budget)


def test_the_key_changes_with_whatever_decides_the_result(chapter, monkeypatch):
    point = make_grid(chapter, {"n": [3]}).points[0]
    keys = [run_key(chapter, point), run_key(chapter, point | {"n": 4})]
    assert run_key(chapter, dict(reversed(point.items()))) == keys[0]
    monkeypatch.setenv("OTLAB_BUDGET", "smoke")
    keys.append(run_key(chapter, point))
    monkeypatch.delenv("OTLAB_BUDGET")
    monkeypatch.setattr("otlab.lab.sweeps.grid.source_hash", lambda: "other")
    keys.append(run_key(chapter, point))
    monkeypatch.undo()
    nb = json.loads(chapter.path.read_text())
    nb["cells"][-1]["execution_count"], nb["cells"][-1]["outputs"] = 7, []
    chapter.path.write_text(json.dumps(nb))
    assert run_key(chapter, point) == keys[0]  # outputs do not count
    nb["cells"][-1]["source"] += "\n"
    chapter.path.write_text(json.dumps(nb))
    keys.append(run_key(chapter, point))
    assert len(set(keys)) == len(keys) and len(source_hash()) == 64


def test_a_stopped_sweep_leaves_a_table_of_what_finished(chapter, tmp_path, monkeypatch):
    """As Ctrl-C would; the signal itself, and the workers' end, are tested in the stage deep."""
    grid = make_grid(chapter, {"n": [3, 4]}, {"epsilon": 0.5}, "smoke")
    keys = [run_key(chapter, point) for point in grid.points]

    def stopped(*job):
        keep_run(tmp_path / "out" / "runs" / keys[0], {
            "status": "ok", "seconds": 1, "claims": [], "scalars": {"loss": 0.5}})
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "_cluster", lambda *which: contextlib.nullcontext())
    monkeypatch.setattr(sweeps, "_collect", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(chapter, grid, out=tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "table.csv")["n"].unique().tolist() == [3]


@pytest.mark.deep
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
def test_ctrl_c_keeps_finished_runs(chapter, tmp_path):
    process = otlab("sweep", "tiny", "--grid", "n=3,4,14", "--workers", "2", "--out", "out",
                    notebooks=chapter.path.parent, cwd=tmp_path)
    log, runs = chapter.path.parent / "marks" / "log", tmp_path / "out" / "runs"
    wait_for(process, lambda: "14" in log.read_text()
             and len(list(runs.glob("*/result.json"))) == 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130 and "the same command goes on from there" in said, said
    assert "Traceback" not in said and "distributed" not in said
    assert sorted(pd.read_csv(tmp_path / "out" / "table.csv")["n"].unique()) == [3, 4]
