"""The record of a chapter's run at the page budget, which git keeps.

It stands in notebooks/results/CHAPTER/record.json. The test command runs chapters at the smoke
budget; the record says that this very source also ran to its end at the page budget, when, in how
long, with which versions and verdicts. It stands for the chapter's code cells, its parameters
among them (`source_hash`): a word of prose may change without a new run, a number in a cell may
not. Modules and saved results that a chapter reads are outside; the publishing and the weekly
workflow run every chapter anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from otlab.lab.execution.chapters import Chapter, ChapterError, read_chapter, root
from otlab.lab.execution.fingerprint import RECORD, source_hash
from otlab.lab.execution.result import dumps, read_result, write_atomically

SCHEMA = "otlab.record/1"
BUDGET = "page"
HEAVIEST = 3_000_000  # bytes that a page may weigh
KEPT = ("budget", "versions", "device", "seconds", "date")


def record_path(chapter: str, checkout: Path | None = None) -> Path:
    """Where the record of a chapter stands."""
    return (checkout or root()) / "notebooks" / "results" / chapter / RECORD


def command(chapter: str) -> str:
    """What makes a chapter's record anew."""
    return f"otlab run {chapter} --budget {BUDGET}"


def keep_record(chapter: Chapter, out: Path, checkout: Path | None = None) -> Path | None:
    """Write the record of the run in the folder `out`; None when that run makes none.

    A record is made by a run to the end, at the page budget, with every parameter at its default,
    of a chapter of this checkout that is still as it was when it ran.
    """
    try:
        checkout = (checkout or root()).resolve()
    except ChapterError:
        return None
    result = read_result(out)
    defaults = {name: p.default for name, p in (chapter.parameters or {}).items()}
    if (not result or result["status"] != "ok" or result["budget"] != BUDGET
            or json.loads(dumps(defaults)) != result["parameters"]
            or checkout / "notebooks" not in chapter.path.resolve().parents):
        return None
    executed = nbformat.read(out / "notebook.ipynb", as_version=4)
    ran = [c.source for c in executed.cells if c.cell_type == "code"]
    here = nbformat.read(chapter.path, as_version=4)
    if ran != [c.source for c in here.cells if c.cell_type == "code"]:
        return None
    path = record_path(chapter.name, checkout)
    write_atomically(path, dumps(_record(chapter, result, page_bytes(executed, chapter.title))))
    return path


def _record(chapter: Chapter, result: Mapping[str, Any], weight: int) -> dict:
    def rows(kind, *names):
        return [{name: row[name] for name in names if name in row} for row in result.get(kind, [])]

    return {"schema": SCHEMA, "chapter": chapter.name, "source": source_hash(chapter.path),
            **{name: result[name] for name in KEPT}, "page_bytes": weight,
            "verdicts": rows("claims", "number", "claim", "verdict"),
            "found": rows("found", "number", "found", "standing"),
            "command": command(chapter.name)}


def page_bytes(executed, title: str) -> int:
    """Bytes of the run as one page that needs nothing else, every state of its sliders included."""
    from otlab.lab.execution.page import page

    return len(page(executed, title).encode())


def faults(notebook: Path, checkout: Path | None = None) -> list[str]:
    """What is wrong with a chapter's record, each with the command that puts it right."""
    chapter = read_chapter(notebook)
    path = record_path(chapter.name, checkout)
    again = f"run `{command(chapter.name)}`, or `make book` for all"
    if not path.is_file():
        return [f"{chapter.name} has no record of a run at the {BUDGET} budget: {again}"]
    record = json.loads(path.read_text("utf-8"))
    if record.get("schema") != SCHEMA:
        return [f"{chapter.name}: its record is of another form: {again}"]
    said = []
    if record["source"] != source_hash(notebook):
        said.append(f"{chapter.name}: its cells changed since it ran on {record['date'][:10]}: "
                    f"{again}")
    if record["page_bytes"] > HEAVIEST:
        said.append(f"{chapter.name}: its page weighs {record['page_bytes']:,} bytes; the most is "
                    f"{HEAVIEST:,}: fewer states or smaller pictures, then {again}")
    return said
