"""Every saved result: stamped, small, in a form we read, and shown by a chapter."""

import ast
import datetime
import json
import re
from functools import cache
from pathlib import Path

import chapter_rules
import nbformat
import numpy as np
import pytest
from safetensors import safe_open

from otlab.lab import named_axes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "notebooks" / "results"
STAMP = {"command", "date", "machine"}
LARGEST = 1_000_000  # bytes
LARGE = {  # what a language model said about 2,792 texts: read whole, on the page
    "geometries_of_truth/answers.npz": 2_500_000, "geometries_of_truth/statements.npz": 1_800_000}
RECORD = "record.json"  # how long a chapter took, which otlab.lab.execution writes


def results(folder: Path = RESULTS) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RECORD)


def read(path: Path) -> tuple[dict, dict]:
    """The stamp, and the arrays by name."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(str(arrays.pop("stamp"))), arrays
    if path.suffix == ".json":
        found = json.loads(path.read_text("utf-8"))
        stamp = found.pop("stamp", None) or found
        return stamp, {k: np.asarray(v) for k, v in found.items() if isinstance(v, list)}
    with safe_open(path, "np") as file:
        (text,) = file.metadata().values()
    return json.loads(text), {}


def faults(path: Path, folder: Path = RESULTS) -> list[str]:
    """What is wrong with one file, apart from who reads it."""
    name = str(path.relative_to(folder))
    if path.suffix not in (".npz", ".json", ".safetensors"):
        return ["neither npz, json nor safetensors: a data set goes to otlab/core/data"]
    size, most = path.stat().st_size, LARGE.get(name, LARGEST)
    out = [f"{size:,} bytes, more than {most:,}"] if size > most else []
    try:
        stamp, arrays = read(path)
    except (KeyError, ValueError) as error:
        return [*out, f"no stamp that can be read: {error}"]
    if path.suffix == ".safetensors":
        return out if stamp else [*out, "weights without a word on where they are from"]
    out += [f"the stamp has no {key}" for key in sorted(STAMP - set(stamp))]
    if not re.match(rf"(OTLAB_BENCH.* )?(otlab run {path.parent.name}\b|make bench)",
                    stamp.get("command", "")):
        out.append(f"made by {stamp.get('command')!r}, not by its chapter's command")
    try:
        datetime.date.fromisoformat(stamp.get("date", ""))
    except ValueError:
        out.append(f"dated {stamp.get('date')!r}")
    try:
        if "axes" in stamp and named_axes.resolve(stamp["axes"], arrays) != stamp["axes"]:
            out.append("axes that are not plain labels")
    except ValueError as error:
        out.append(str(error))
    return out


@cache
def texts_of(chapter: str) -> str:
    """All string constants of a chapter's code, or of the code that writes the benchmark page."""
    if chapter == "benchmarks":
        sources = [(ROOT / "jupyter_book" / "_ext" / "benchmarks.py").read_text("utf-8")]
    else:
        (path,) = (ROOT / "notebooks").rglob(f"{chapter}.ipynb")
        cells = chapter_rules.code(nbformat.read(path, as_version=4))
        sources = [ast.unparse(chapter_rules.parse(cell)) for _, cell in cells]
    tests = [p.read_text("utf-8") for p in (ROOT / "tests").rglob("*.py")
             if p != Path(__file__).resolve()]
    sources += [text for text in tests if f'"{chapter}"' in text]  # kept for a test
    return "\n".join(n.value for source in sources for n in ast.walk(ast.parse(source))
                     if isinstance(n, ast.Constant) and isinstance(n.value, str))


def unused(paths: list[Path]) -> list[str]:
    """Files with a word in their name that their chapter never says."""
    out = []
    for path in paths:
        said = texts_of(path.parent.name)
        words = [w for w in re.split(r"[_\W]+", path.stem) if re.search(r"[^\W\d]", w)]
        if not all(re.search(rf"(?<![^\W_]){w}(?![^\W_])", said) for w in words if len(w) > 1):
            out.append(str(path.relative_to(RESULTS)))
    return out


def test_results_are_stamped_small_and_in_a_form_that_we_read():
    assert results()
    said = {str(p.relative_to(RESULTS)): faults(p) for p in results()}
    assert {name: lines for name, lines in said.items() if lines} == {}
    small = [name for name in LARGE if (RESULTS / name).stat().st_size <= LARGEST]
    assert small == [], "they are small by now: take them from LARGE"


def test_every_result_is_shown_by_its_chapter_or_read_by_a_test():
    assert unused(results()) == []
    assert unused([RESULTS / "monge_gap" / "forgotten.npz"]) == ["monge_gap/forgotten.npz"]


GOOD = {"command": "otlab run chapter --budget long", "date": "2026-11-30", "machine": "2 cores"}


@pytest.mark.parametrize("name, content, said", [
    ("run.json", {"stamp": {k: GOOD[k] for k in ("command", "date")}}, "no machine"),
    ("run.json", {"stamp": GOOD | {"command": "python mine.py"}}, "not by its chapter's command"),
    ("run.json", {"stamp": GOOD | {"date": "yesterday"}}, "dated 'yesterday'"),
    ("run.json", {"stamp": GOOD | {"axes": {"a": {"x": [1]}}}, "a": [1, 2]}, "has 1 labels"),
    ("run.json", {"stamp": GOOD, "a": ["x" * LARGEST]}, "bytes, more than"),
    ("run.csv", {}, "a data set goes to"),
])
def test_each_fault_is_seen(tmp_path, name, content, said):
    path = tmp_path / "chapter" / name
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    assert any(said in line for line in faults(path, tmp_path))
    path.write_text(json.dumps({"stamp": GOOD, "a": [1]}))
    assert path.suffix == ".csv" or faults(path, tmp_path) == []
