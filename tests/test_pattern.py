"""Chapters keep the pattern of pattern_rules.py, but for a list that may only shrink."""

import ast
import copy
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import chapter_rules
import nbformat
import pattern_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb")
               if ".ipynb_checkpoints" not in p.parts)


@pytest.fixture(scope="module")
def notebooks() -> dict:
    """Every notebook, read once, by its stem."""
    return {p.stem: nbformat.read(p, as_version=4) for p in PATHS}


def test_the_list_holds_only_chapters_that_stood_before_the_pattern():
    known = {rule.__name__ for rule in rules.RULES} | {"ruff"}
    assert set(rules.UNCONVERTED) == known
    listed = {name for names in rules.UNCONVERTED.values() for name in names}
    assert listed <= set(rules.FIRST)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_chapters_keep_the_pattern(rule, notebooks):
    listed = rules.UNCONVERTED[rule.__name__]
    said = {name: rule(nb) for name, nb in notebooks.items()
            if not (rule in rules.ONLY_CHAPTERS and name == "start_here")}
    assert {name: lines for name, lines in said.items() if lines and name not in listed} == {}
    kept = sorted(name for name in listed if not said.get(name))
    assert kept == [], f"take these from UNCONVERTED[{rule.__name__!r}]: they keep the rule"


def test_cells_are_clean_for_ruff_and_pyproject_excludes_the_rest():
    ruff, paths = [sys.executable, "-m", "ruff"], [str(p) for p in PATHS]
    checked = subprocess.run([*ruff, "check", "--output-format=json", *paths], cwd=ROOT,
                             capture_output=True, text=True)
    said = {f"{Path(f['filename']).stem}: cell {f['cell']}: {f['code']} {f['message']}"
            for f in json.loads(checked.stdout)}
    styled = subprocess.run([*ruff, "format", "--check", *paths], cwd=ROOT, capture_output=True,
                            text=True)
    said |= {f"{Path(name).stem}: ruff format would change it"
             for name in re.findall(r"Would reformat: (.*\.ipynb)", styled.stdout)}
    listed = rules.UNCONVERTED["ruff"]
    offenders = {line.split(":")[0] for line in said}
    assert sorted(line for line in said if line.split(":")[0] not in listed) == []
    assert sorted(set(listed) - offenders) == [], "take these from UNCONVERTED['ruff']"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]
    excluded = settings["extend-exclude"]
    assert sorted(Path(p).stem for p in excluded) == sorted(listed)
    assert [p for p in excluded if not (ROOT / p).is_file()] == []


def imported(nb) -> dict[str, object]:
    """What the notebook's imports from otlab bring, by name."""
    found = {}
    for _, cell in chapter_rules.code(nb):
        for node in chapter_rules.parse(cell).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otlab"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    try:
                        value = getattr(module, alias.name)
                    except AttributeError:
                        value = importlib.import_module(f"{node.module}.{alias.name}")
                    found[alias.asname or alias.name] = value
    return found


def unready(nb) -> list[str]:
    """Cells to write in that would not even begin: nbval leaves them alone, so we look."""
    known, out = imported(nb), []
    for number, cells in rules.exercises(nb).items():
        for cell in (c for c in cells if "exercise" in chapter_rules.tags(c)):
            functions = [n for n in chapter_rules.parse(cell).body
                         if isinstance(n, ast.FunctionDef)]
            for call in chapter_rules.calls(cell):
                if chapter_rules.names_of(call) != "attempt":
                    continue
                check = eval(ast.unparse(call.args[0]), {}, known)
                if not inspect.getdoc(check):
                    out.append(f"exercise {number}: {ast.unparse(call.args[0])} says nothing")
                space = dict(known)
                exec(ast.unparse(ast.Module(functions, [])), space)
                yours = space.get(ast.unparse(call.args[1]))
                if callable(yours) and known["attempt"](check, yours).passed is not None:
                    out.append(f"exercise {number}: {yours.__name__} is not to be written")
    return out


def test_each_cell_to_write_in_is_ready(notebooks):
    listed = rules.UNCONVERTED["exercises_have_a_cell_to_write_in"]
    chapters = {name: nb for name, nb in notebooks.items()
                if name not in (*listed, "start_here")}
    assert {name: unready(nb) for name, nb in chapters.items() if unready(nb)} == {}


CORE = """<div class="admonition core">

**The core path: twenty minutes.**

</div>

## The question"""
MORE = "### Exercise {}. A title\n\n*Difficulty 2 of 5, ten minutes.* Do it."
WRITE = '''def yours(P):
    """P (n, m) -> a number."""
    ...


attempt(check.sharpness, yours)'''
ANSWER = "# Answer.\n@answer(check.sharpness)\ndef sharpness(P):\n    return 0"


def an_exercise(number):
    return [new_markdown_cell(MORE.format(number)),
            new_code_cell(WRITE, metadata={"tags": ["exercise", "nbval-skip"]}),
            new_code_cell(ANSWER, metadata={"tags": ["answer", "hide-cell"]})]


@pytest.fixture
def good():
    """The smallest chapter in the pattern."""
    return new_notebook(cells=[
        new_markdown_cell("# A title"),
        new_markdown_cell(CORE),
        new_code_cell("from otlab.lab.checks import large_sinkhorn_couplings as check\n"
                      "from otlab.lab.exercises import attempt",
                      metadata={"tags": ["hide-input"]}),
        new_code_cell("guess('…')\nexplore(draw)\nprint('agree')"),
        new_markdown_cell("## The mathematics\n\n## From scratch\n\n## Two exercises"),
        new_code_cell("run_answers(False)\nx = ';'  # fine; here"),
        *an_exercise(1), *an_exercise(2),
        new_markdown_cell('<div class="admonition evidence">\n\n</div>\n\n## Experiment'),
        new_code_cell("run = stored('c', 'run', many, mode=m, axes={})\nfor s in seeds:\n"
                      "    fit(s)\nrun.at(seed=0)\nrun['ends'].mean()"),
        new_code_cell("loop = fit(1)\na = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7\nh = 8"),
        new_code_cell("k = 8\n" * 10),
        new_markdown_cell("## More exercises"),
        *an_exercise(3),
        new_markdown_cell("## Claimed and measured"),
    ])


def test_a_chapter_in_the_pattern_passes(good):
    assert {r.__name__: r(good) for r in rules.RULES if r(good)} == {}
    assert unready(good) == []


def write(nb, source):
    """Another text in the cell to write in of the first exercise."""
    nb.cells[7].source = source


BREAKS = {
    "no_semicolons": [lambda nb: nb.cells[3].update(source="a = 1; b = 2"),
                      lambda nb: nb.cells[3].update(source="ax.axis('off');")],
    "hidden_cells_only_draw": [
        lambda nb: nb.cells[2].update(source="model = fit(key)"),
        lambda nb: nb.cells[2].update(source="def maps():\n    return monge_maps.fit_many(key)"),
        lambda nb: nb.cells[2].update(source="run = stored('c', 'run', many, axes={})"),
        lambda nb: nb.cells[2].update(source="for k in range(9):\n    state = step(state)"),
        lambda nb: nb.cells[2].update(source="gaps = [gap(s) for s in seeds]")],
    "most_code_is_visible": [lambda nb: nb.cells[2].update(source="x = 1\n" * 60)],
    "exercises_have_a_cell_to_write_in": [
        lambda nb: nb.cells.pop(7), lambda nb: nb.cells[7].metadata.update(tags=["exercise"]),
        lambda nb: write(nb, WRITE.replace("    ...", "    return 2")),
        lambda nb: write(nb, WRITE.split("\n\n\n")[0]),
        lambda nb: write(nb, 'def yours(P):\n    ...\n\n\nattempt(check.sharpness, yours)'),
        lambda nb: write(nb, "check.sharpness(None)"),
        lambda nb: nb.cells.pop(-4)],
    "answers_wait": [
        lambda nb: nb.cells.pop(8), lambda nb: nb.cells[8].update(source=ANSWER[10:]),
        lambda nb: nb.cells[8].update(source="# Answer.\ncheck.sharpness(lambda P: 0)"),
        lambda nb: nb.cells[8].update(source="# Answer.\ndef sharpness(P):\n    return 0"),
        lambda nb: nb.cells[8].metadata.update(tags=["hide-cell"]),
        lambda nb: nb.cells[5].update(source="x = 1")],
    "measurements_are_not_printed": [
        lambda nb: nb.cells[3].update(source="print(f'gap {gap:.2f}')")],
    "results_are_read_by_name": [
        lambda nb: nb.cells[-8].update(source="run = stored('c', 'run', many, mode=m)"),
        lambda nb: nb.cells.append(new_code_cell("run['ends'][0, 2]"))],
    "core_path_is_marked": [
        lambda nb: nb.cells[1].update(source="## The question"),
        lambda nb: nb.cells[3].update(source="explore(draw)"),
        lambda nb: nb.cells.insert(6, new_markdown_cell(MORE.format(9))),
        lambda nb: nb.cells[4].update(source="## From scratch\n\n## Two exercises"),
        lambda nb: nb.cells.insert(1, nb.cells.pop(12))],
}


def test_each_rule_can_fail(good):
    unnoticed = []
    for rule in rules.RULES:
        for k, spoil in enumerate(BREAKS[rule.__name__]):
            broken = copy.deepcopy(good)
            spoil(broken)
            if not rule(broken):
                unnoticed.append(f"{rule.__name__}, {k}")
    assert unnoticed == []


def test_open_exercises_need_no_check_and_no_answer(good):
    good.cells[6].source = MORE.format(1).replace("2 of 5", "4 of 5, open")
    write(good, WRITE.split("\n\n\n")[0])
    good.cells.pop(8)
    assert rules.exercises_have_a_cell_to_write_in(good) == rules.answers_wait(good) == []


def test_a_cell_to_write_in_that_cannot_begin_is_seen(good):
    write(good, WRITE.replace("check.sharpness", "check.sharpnes"))
    with pytest.raises(AttributeError, match="sharpnes"):
        unready(good)
