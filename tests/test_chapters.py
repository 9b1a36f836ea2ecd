"""Every notebook holds to the rules of chapter_rules.py, and each rule can fail."""

import copy
import re
from pathlib import Path

import chapter_rules as rules
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb")
                   if ".ipynb_checkpoints" not in p.parts)


def is_chapter(nb) -> bool:
    return any("parameters" in rules.tags(cell) for cell in nb.cells)


def test_there_are_chapters():
    assert any(is_chapter(nbformat.read(p, as_version=4)) for p in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("rule", rules.EVERY_NOTEBOOK, ids=lambda r: r.__name__)
def test_notebook(path, rule):
    assert rule(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("rule", rules.EVERY_CHAPTER, ids=lambda r: r.__name__)
def test_chapter(path, rule):
    nb = nbformat.read(path, as_version=4)
    if not is_chapter(nb):
        assert path.stem == "start_here", "only the first page may do without parameters"
        return
    assert rule(nb) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=4))


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


@pytest.mark.parametrize("rule", rules.EVERY_NOTEBOOK + rules.EVERY_CHAPTER,
                         ids=lambda r: r.__name__)
def test_each_rule_can_fail(good, rule):
    broken = copy.deepcopy(good)
    BREAKS[rule.__name__](broken)
    assert rule(broken), f"{rule.__name__} did not notice"


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_paper_linked_is_among_the_references(path):
    known = (ROOT / "jupyter_book" / "references.bib").read_text("utf-8")
    linked = {m for cell in nbformat.read(path, as_version=4).cells
              if cell.cell_type == "markdown" for m in ARXIV.findall(cell.source)}
    assert not {number for number in linked if f"{{{number}}}" not in known}
