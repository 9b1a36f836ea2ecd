"""Chapters state claims by the new interface; the list of those that do not may only shrink."""

import ast
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
OLD_CALLS = {"judge", "judge_number", "judge_equal", "judge_bound"}
OLD_KEYWORDS = {"verdict", "seeds", "kind", "exact"}
NOT_CONVERTED = {"geometries_of_truth"}


def old_calls(nb) -> list[str]:
    """Calls of the interface that goes, with the line."""
    out = []
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        lines = [line for line in cell.source.splitlines() if not line.startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            name, keywords = node.func.id, {k.arg for k in node.keywords}
            if name in OLD_CALLS or name == "Claim" and (len(node.args) > 4
                                                         or keywords & OLD_KEYWORDS):
                out.append(f"{name}, line {node.lineno}")
    return out


def test_only_the_listed_chapters_use_the_old_calls():
    found = {p.stem for p in (ROOT / "notebooks").rglob("*.ipynb")
             if ".ipynb_checkpoints" not in p.parts and old_calls(nbformat.read(p, as_version=4))}
    assert found - NOT_CONVERTED == set(), "write Claim(…) and Found(…); see otlab/lab/claims"
    assert NOT_CONVERTED - found == set(), "converted: take it off the list"


def test_the_old_calls_are_noticed():
    for source in ("judge(holds=True)", "Claim('a', 'b', 'c', v, judge_number(v, 1), 5)",
                   "Claim('a', 'b', c, v, kind='paper')"):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        assert old_calls(nb), source
    kept = "Claim('a', 'Table 1', ratio(2), v, note='n', saved=run)"
    assert not old_calls(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(kept)]))
