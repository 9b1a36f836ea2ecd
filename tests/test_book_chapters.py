"""How the book gets its chapters: run when they changed, two at a time, or taken as executed."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from tiny_chapters import CLAIM, write_chapter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def book():
    """The modules of jupyter_book/_ext that this file tests: (chapters, stage)."""
    sys.path.insert(0, str(ROOT / "jupyter_book" / "_ext"))
    import chapters
    import stage

    yield chapters, stage
    sys.path.remove(str(ROOT / "jupyter_book" / "_ext"))


WHERE = ("import os\nshare = getattr(os, 'sched_getaffinity', lambda pid: [])(0)\n"
         "print(os.getpid(), sorted(share))")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Two chapters and their table of contents."""
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)
    for name in ("one", "two"):
        write_chapter(tmp_path / "notebooks", WHERE, CLAIM, name=name)
    (tmp_path / "jupyter_book").mkdir()
    (tmp_path / "jupyter_book" / "_toc.yml").write_text(
        "root: intro\nchapters:\n- file: notebooks/one\n- file: notebooks/two\n")
    return tmp_path


def lines_of(out):
    nb = nbformat.read(out / "notebook.ipynb", as_version=4)
    return [o.get("text", "") for c in nb.cells for o in c.get("outputs", [])]


def test_chapters_run_side_by_side_leave_records_and_are_not_repeated(book, checkout, capsys):
    chapters, stage = book
    runs = chapters.run_all(checkout, checkout / "runs", "page", False, 2)
    assert [p.stem for p in runs] == ["one", "two"]
    said = [lines_of(out)[0] for out in runs.values()]
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        first, second = (set(json.loads(text.split(" ", 1)[1])) for text in said)
        assert not first & second, "two kernels shared a core"
    records = [json.loads((checkout / "notebooks" / "results" / name / "record.json").read_text())
               for name in ("one", "two")]
    assert [r["chapter"] for r in records] == ["one", "two"]
    assert records[0]["verdicts"][0]["verdict"] == "reproduced"
    write_chapter(checkout / "notebooks", WHERE, CLAIM, name="one", prose="# Said better")
    capsys.readouterr()
    again = chapters.run_all(checkout, checkout / "runs", "page", False, 2)
    assert capsys.readouterr().out.count("unchanged") == 2
    assert [lines_of(out)[0] for out in again.values()] == said
    source, out = next(iter(again.items()))
    page = nbformat.reads(stage.clean(out / "notebook.ipynb", source), 4)
    assert page.cells[0].source == "# Said better"
    assert [o.text for c in page.cells for o in c.get("outputs", []) if "text" in o] == [said[0]]


def test_a_failing_chapter_stops_the_book_after_the_others(book, checkout):
    chapters, _ = book
    write_chapter(checkout / "notebooks", "raise ValueError('not this one')", name="one")
    with pytest.raises(chapters.BookError, match="one.ipynb failed in code cell 2 .*not this one"):
        chapters.run_all(checkout, checkout / "runs", "page", False, 2)
    assert chapters.done(checkout, checkout / "notebooks" / "two.ipynb",
                         checkout / "runs" / "two", "page")
    assert not (checkout / "runs" / "one" / "fingerprint").exists()
    assert not (checkout / "notebooks" / "results" / "one").exists()


def test_what_was_executed_elsewhere_must_be_of_the_present_source(book, checkout):
    chapters, _ = book
    notebook, out = checkout / "notebooks" / "two.ipynb", checkout / "kept" / "two"
    out.mkdir(parents=True)
    (out / "notebook.ipynb").write_text(notebook.read_text())
    (out / "result.json").write_text("{}")
    (out / "fingerprint").write_text(chapters.fingerprint(checkout, notebook, "smoke"))
    with pytest.raises(chapters.BookError, match="no run of the present one; .*--only nbval"):
        chapters.executed_elsewhere(checkout, checkout / "kept", "smoke")
    write_chapter(checkout / "notebooks", "print(2)", name="two")
    with pytest.raises(chapters.BookError, match="present one, two"):
        chapters.executed_elsewhere(checkout, checkout / "kept", "smoke")


def test_cores_are_dealt_out(book, monkeypatch):
    chapters, _ = book
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    assert chapters.core_shares(2) == [{0, 2}, {1, 5}]
    assert chapters.core_shares(1) == [None] and chapters.core_shares(5) == [None] * 5
