"""Every notebook holds to the rules of chapter_rules.py, and each rule can fail."""

import copy
import re
from pathlib import Path

import chapter_rules as rules
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb")
                   if ".ipynb_checkpoints" not in p.parts)


def is_chapter(nb) -> bool:
    return any("parameters" in rules.tags(cell) for cell in nb.cells)


@pytest.fixture(scope="module")
def notebooks() -> dict:
    """Every notebook, read once, by its path from the repository."""
    return {str(p.relative_to(ROOT)): nbformat.read(p, as_version=4) for p in NOTEBOOKS}


def offenders(kept: list, notebooks: dict) -> list[str]:
    """All that breaks a rule: 'notebook: rule: sentence', one line each."""
    return [f"{name}: {rule.__name__}: {said}" for name, nb in notebooks.items()
            for rule in kept for said in rule(nb)]


def test_every_notebook_keeps_the_rules_of_notebooks(notebooks):
    assert notebooks
    assert offenders(rules.EVERY_NOTEBOOK, notebooks) == []


def test_every_chapter_keeps_the_rules_of_chapters(notebooks):
    chapters = {name: nb for name, nb in notebooks.items() if is_chapter(nb)}
    others = [name for name in notebooks if name not in chapters]
    assert chapters
    assert others == ["notebooks/start_here.ipynb"], "only this page may do without parameters"
    assert offenders(rules.EVERY_CHAPTER, chapters) == []


def test_every_notebook_is_valid(notebooks):
    wrong = {}
    for name, nb in notebooks.items():
        try:
            nbformat.validate(nb)
        except nbformat.ValidationError as error:
            wrong[name] = str(error).splitlines()[0]
    assert wrong == {}


def test_offenders_are_listed_with_notebook_and_rule(good):
    broken = copy.deepcopy(good)
    broken.cells.append(new_code_cell("!ls"))
    said = offenders(rules.EVERY_NOTEBOOK, {"one": good, "two": broken, "three": broken})
    assert said == [f"{name}: nothing_forbidden: code cell 5: a shell command"
                    for name in ("two", "three")]


CARD = """# A title

<div class="admonition card">

**Needs:** nothing. **Time:** 5 minutes. **Device:** any. **Paper:** one.

</div>"""


@pytest.fixture
def good():
    """The smallest chapter that keeps every rule."""
    checked = new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(seed)", execution_count=3,
                            outputs=[new_output("stream", name="stdout", text="0\n")])
    checked.metadata.tags = ["keep_output"]
    nb = new_notebook(cells=[
        new_markdown_cell(CARD),
        new_code_cell('seed = 0\nbudget = "page"  # smoke | page',
                      metadata={"tags": ["parameters"]}),
        new_code_cell("fig, ax = plt.subplots()\n"
                      "figures.show(fig, alt='A blue point is here.', caption='It is blue, see.')"),
        checked,
        new_code_cell("claims_table([Claim('a', 'b', 'c', 1, judge(holds=True))], chapter='x', "
                      "seconds=budget)"),
    ])
    nb.metadata.otlab = {"summary": "One line about it.", "minutes": 5}
    return nb


def test_a_good_chapter_passes(good):
    for rule in rules.EVERY_NOTEBOOK + rules.EVERY_CHAPTER:
        assert rule(good) == [], rule.__name__


BREAKS = {
    "has_title": lambda nb: nb.cells.pop(0),
    "has_card": lambda nb: nb.cells[0].update(source="# A title"),
    "metadata_is_complete": lambda nb: nb.metadata.otlab.pop("minutes"),
    "parameters_are_literals": lambda nb: nb.cells[1].update(
        source='seed = len("a")\nbudget = "page"  # x'),
    "parameters_are_read": lambda nb: nb.cells[1].update(
        source=nb.cells[1].source + "\nunused = 3  # never"),
    "figures_are_described": lambda nb: nb.cells[2].update(source="fig, ax = plt.subplots()"),
    "claims_come_last": lambda nb: nb.cells.append(new_code_cell("x = 1")),
    "verdicts_are_judged": lambda nb: nb.cells[4].update(
        source="claims_table([Claim('a', 'b', 'c', 1, verdict='reproduced')])"),
    "nothing_forbidden": lambda nb: nb.cells.append(new_code_cell("!pip install jax")),
    "no_bare_except": lambda nb: nb.cells.append(new_code_cell("try:\n    x\nexcept:\n    y")),
    "cells_are_short": lambda nb: nb.cells.append(new_code_cell("x = 1\n" * 31)),
    "checked_cells_can_fail": lambda nb: nb.cells[3].update(execution_count=None),
    "outputs_are_stripped": lambda nb: nb.cells[3].metadata.update(tags=[]),
    "no_widget_state": lambda nb: nb.metadata.update(widgets={}),
    "reads_in_jupyterlab": lambda nb: nb.cells.append(new_markdown_cell("See {cite}`a`.")),
    "folded_cells_are_folded_everywhere": lambda nb: nb.cells.insert(2, new_code_cell(
        "check.x(1)", metadata={"tags": ["hide-cell"]})),
    "headings_in_order": lambda nb: nb.cells.append(new_markdown_cell("#### deep")),
}


def test_each_rule_can_fail(good):
    unnoticed = []
    for rule in rules.EVERY_NOTEBOOK + rules.EVERY_CHAPTER:
        broken = copy.deepcopy(good)
        BREAKS[rule.__name__](broken)
        if not rule(broken):
            unnoticed.append(rule.__name__)
    assert unnoticed == []


@pytest.mark.parametrize("source", [
    "np.random.seed(0)", "os.chdir('..')", "open('/" + "home/me/x.csv')", "fetch_openml('mnist')",
    "warnings.filterwarnings('ignore')", "%pip install ott-jax", "!ls", "urlretrieve('x')"])
def test_forbidden_things_are_seen(good, source):
    good.cells.append(new_code_cell(source))
    assert rules.nothing_forbidden(good)


def test_a_checked_cell_needs_an_output(good):
    good.cells[3]["outputs"] = []
    assert rules.checked_cells_can_fail(good)


@pytest.mark.parametrize("source", ["```{admonition} Hint\n```", ":::{note}\n:::", "{cite:t}`a`",
                                    "[](there.ipynb)"])
def test_what_jupyterlab_shows_raw_is_seen(good, source):
    good.cells.append(new_markdown_cell(source))
    assert rules.reads_in_jupyterlab(good)


ARXIV = re.compile(r"arxiv\.org/abs/(\d{4}\.\d{4,5})")


def unlisted_papers(nb, known: str) -> list[str]:
    """Numbers of arXiv papers that a notebook links and the bibliography does not hold."""
    linked = {m for cell in nb.cells if cell.cell_type == "markdown"
              for m in ARXIV.findall(cell.source)}
    return sorted(number for number in linked if f"{{{number}}}" not in known)


def test_every_paper_linked_is_among_the_references(notebooks, good):
    known = (ROOT / "jupyter_book" / "references.bib").read_text("utf-8")
    missing = {name: unlisted_papers(nb, known) for name, nb in notebooks.items()}
    assert {name: papers for name, papers in missing.items() if papers} == {}
    good.cells.append(new_markdown_cell("[A paper](https://arxiv.org/abs/9912.99999)"))
    assert unlisted_papers(good, known) == ["9912.99999"]
