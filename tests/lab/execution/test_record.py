"""The record of a page run: made by a whole run of the present source, and noticed when old."""

import json

import nbformat
import pytest
from tiny_chapters import CLAIM, write_chapter

from otlab.lab.execution import record
from otlab.lab.execution.chapters import find_chapter
from otlab.lab.execution.fingerprint import source_hash
from otlab.lab.execution.result import RunResult, dumps


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "results").mkdir(parents=True)
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path / "notebooks"))
    write_chapter(tmp_path / "notebooks" / "room", "print(epsilon)", CLAIM)
    return tmp_path


def a_run(checkout, *, out="out", status="ok", budget="page", epsilon=0.1, picture="x"):
    """What `execute` would have left of a run, without a kernel."""
    chapter, folder = find_chapter("tiny"), checkout / out
    nb = nbformat.read(chapter.path, as_version=4)
    nb.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"text/html": picture})]
    folder.mkdir(exist_ok=True)
    nbformat.write(nb, folder / "notebook.ipynb")
    claims = [{"number": 1, "claim": "half of n", "verdict": "reproduced", "measured": "3"}]
    done = RunResult(chapter="tiny", parameters={"epsilon": epsilon, "n": 4, "budget": budget},
                     budget=budget, versions={"python": "3.11.7"}, device="a core", seconds=1.5,
                     date="2026-01-02T03:04:05+00:00", status=status, claims=claims)
    (folder / "result.json").write_text(dumps(done.data()))
    return chapter, folder


def test_a_whole_run_leaves_a_record_that_holds(checkout):
    chapter, out = a_run(checkout)
    said = record.faults(chapter.path, checkout)
    assert said == ["tiny has no record of a run at the page budget: run `otlab run tiny --budget "
                    "page`, or `make book` for all"]
    path = record.keep_record(chapter, out, checkout)
    assert path == checkout / "notebooks" / "results" / "tiny" / "record.json"
    kept = json.loads(path.read_text())
    assert kept["source"] == source_hash(chapter.path) and kept["budget"] == "page"
    assert kept["verdicts"] == [{"number": 1, "claim": "half of n", "verdict": "reproduced"}]
    assert (kept["seconds"], kept["date"][:10], kept["versions"]) == (
        1.5, "2026-01-02", {"python": "3.11.7"})
    assert kept["command"] == "otlab run tiny --budget page" and kept["page_bytes"] > 1_000
    assert record.faults(chapter.path, checkout) == []


def test_a_changed_cell_is_noticed_and_a_changed_word_is_not(checkout):
    chapter, out = a_run(checkout)
    record.keep_record(chapter, out, checkout)
    write_chapter(checkout / "notebooks" / "room", "print(epsilon)", CLAIM, prose="# Said better")
    assert record.faults(chapter.path, checkout) == []
    write_chapter(checkout / "notebooks" / "room", "print(2 * epsilon)", CLAIM)
    assert record.faults(chapter.path, checkout) == [
        "tiny: its cells changed since it ran on 2026-01-02: run `otlab run tiny --budget page`, "
        "or `make book` for all"]
    assert record.keep_record(chapter, out, checkout) is None, "the run was of other cells"


@pytest.mark.parametrize("changed", [{"status": "failed"}, {"budget": "smoke"}, {"epsilon": 0.2}])
def test_a_run_that_says_less_leaves_no_record(checkout, changed):
    chapter, out = a_run(checkout, **changed)
    assert record.keep_record(chapter, out, checkout) is None
    assert not record.record_path("tiny", checkout).exists()


def test_a_notebook_outside_the_checkout_leaves_none(checkout, tmp_path_factory):
    chapter, out = a_run(checkout)
    assert record.keep_record(chapter, out, tmp_path_factory.mktemp("other")) is None


def test_a_heavy_page_is_noticed(checkout):
    chapter, out = a_run(checkout, picture="<p>" + "x" * record.HEAVIEST)
    record.keep_record(chapter, out, checkout)
    assert "tiny: its page weighs 3," in record.faults(chapter.path, checkout)[0]


def test_a_record_of_another_form_is_noticed(checkout):
    chapter, out = a_run(checkout)
    path = record.keep_record(chapter, out, checkout)
    path.write_text('{"schema": "otlab.record/0"}')
    assert "of another form" in record.faults(chapter.path, checkout)[0]
