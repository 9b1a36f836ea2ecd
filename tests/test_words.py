"""Prose, captions, docstrings and names use the field's words, but for a list that shrinks."""

import house_words as words
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

MODULES = sorted((words.ROOT / "otlab").rglob("*.py"))
NOTEBOOKS = sorted(p for p in (words.ROOT / "notebooks").rglob("*.ipynb")
                   if ".ipynb_checkpoints" not in p.parts)


def said() -> dict[str, list[str]]:
    """What each chapter, by stem, and each module, by path, says in other words."""
    out = {p.stem: words.of_notebook(nbformat.read(p, as_version=4)) for p in NOTEBOOKS}
    for path in MODULES:
        name = str(path.relative_to(words.ROOT))
        out[name] = words.of_module(path.read_text("utf-8"), name)
    return {name: lines for name, lines in out.items() if lines}


def test_chapters_and_modules_use_the_words_of_the_house():
    found = said()
    assert {name: lines for name, lines in found.items() if name not in words.UNTOUCHED} == {}
    kept = [name for name in words.UNTOUCHED if name not in found]
    assert kept == [], "take these from UNTOUCHED: they keep to the words, or are gone"
    assert len(set(words.UNTOUCHED)) == len(words.UNTOUCHED)


def test_the_table_is_read():
    write = {entry.write for entry in words.entries()}
    assert {"distribution", "learning rate", "Sinkhorn iteration", "memorised"} <= write
    assert all(entry.wrong for entry in words.entries())


@pytest.mark.parametrize("text", [
    "samples of one law", "pairs drawn by lot", "its rate is 0.1", "a share of the mass",
    "the share\nof each", "the slope at zero", "the cost table", "after ten sweeps",
    "known by heart", "notes, claim 3", "Laws of x"])
def test_private_words_are_seen(text):
    assert len(words.offences(text)) == 1
    nb = new_notebook(cells=[new_markdown_cell(text), new_code_cell(f"caption = {text!r}")])
    assert len(words.of_notebook(nb)) == 2
    assert len(words.of_module(f'"""{text}."""')) == 1


@pytest.mark.parametrize("text", [
    "a power law", "the learning rate falls", "each of them shares the memory", "we share it",
    "a parameter sweep", "the slope of log error", "lawful", "a table of measurements",
    "accurate", "at the rate of convergence of $\\rate$, see `rate=0.1`"])
def test_other_meanings_stay(text):
    assert words.offences(words.prose(text)) == []


def test_names_are_read_like_prose():
    said = words.of_module('"""A."""\ndef lost_shares(plan, rate):\n    """B."""\n'
                           "def fit(learning_rate):\n    _share = 1\n    inside_rate = 2\n")
    assert [line.split(":")[0] for line in said] == [
        "the name lost_shares", "the name rate", "the name _share says nothing"]
    assert words.offences("one sweep", "otlab/lab/sweeps/grid.py") == []
