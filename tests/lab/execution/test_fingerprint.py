"""What a chapter depends on: all that its imports reach, its results, the lock, and no more."""

import json

import pytest

from otlab.lab.execution.fingerprint import (
    code_cells,
    dependencies,
    fingerprint,
    reached,
    source_hash,
)

FILES = {
    "otlab/__init__.py": '"""The package."""\n',
    "otlab/core/__init__.py": '"""Core."""\n',
    "otlab/core/costs.py": '"""Costs."""\n\ndef squared(x):\n    return x * x\n',
    "otlab/core/stats.py": '"""Statistics."""\n\ndef mean(x):\n    return x\n',
    "otlab/couplings/__init__.py": '"""Offers names lazily."""\n_FROM = {"sinkhorn": "solver"}\n',
    "otlab/couplings/solver.py": '"""A solver."""\n\ndef sinkhorn(x):\n'
                                 "    from ..core.costs import squared\n    return squared(x)\n",
    "otlab/couplings/other.py": '"""Another."""\nfrom otlab.core import stats\n'
                                "other = stats.mean\n",
    "otlab/flows/__init__.py": '"""Flows."""\n',
    "otlab/flows/paths.py": '"""Paths."""\n',
    "otlab/steering/__init__.py": '"""Steering."""\n',
    "otlab/steering/probes.py": '"""Probes."""\n',
    "otlab/steering/facts/truth.json": "{}",
    "otlab/lab/explore/__init__.py": '"""Sliders."""\n',
    "otlab/lab/explore/static/explore.js": "1",
    "otlab/lab/explore/static/explore.css": "a{}",
    "notebooks/results/mine/long.json": "{}",
    "notebooks/results/mine/record.json": "{}",
    "notebooks/results/yours/long.json": "{}",
    "requirements.lock": "numpy==2.0\n",
}


def notebook(root, *cells, prose="# Mine", name="mine"):
    """A notebook with these code cells, written under `root`."""
    made = [{"cell_type": "markdown", "metadata": {}, "source": prose}]
    made += [{"cell_type": "code", "metadata": {}, "source": c, "outputs": [],
              "execution_count": None} for c in cells]
    path = root / "notebooks" / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4,
                                "nbformat_minor": 5}))
    return path


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(root, *cells):
    return {p.relative_to(root / "otlab").as_posix() for p in reached(root, list(cells))
            if p.name != "__init__.py"}


@pytest.mark.parametrize("cell, wanted", [
    ("from otlab.couplings import solver", {"couplings/solver.py", "core/costs.py"}),
    ("from otlab.couplings import sinkhorn", {"couplings/solver.py", "core/costs.py"}),
    ("import otlab.couplings.solver as s", {"couplings/solver.py", "core/costs.py"}),
    ("def f():\n    from otlab.couplings.other import other",
     {"couplings/other.py", "core/stats.py"}),
    ("from otlab import couplings", {"couplings/solver.py", "couplings/other.py",
                                     "core/costs.py", "core/stats.py"}),
    ("from otlab.couplings import unknown", {"couplings/solver.py", "couplings/other.py",
                                             "core/costs.py", "core/stats.py"}),
    ('script = """\nfrom otlab.flows import paths\n"""', {"flows/paths.py"}),
    ('script = f"""\nfrom otlab.flows import paths\nprint({1}"""', {"flows/paths.py"}),
    ("%matplotlib inline\nimport numpy", set()),
    ("import otlab", set()),
    ("if TYPE_CHECKING:\n    from otlab.flows import paths", set()),
])
def test_imports_are_followed_wherever_they_stand(checkout, cell, wanted):
    assert names(checkout, cell) == wanted


CHANGES = {
    "otlab/couplings/solver.py": True, "otlab/core/costs.py": True,  # through a lazy import
    "otlab/couplings/__init__.py": True, "otlab/__init__.py": True,
    "notebooks/results/mine/long.json": True, "requirements.lock": True,
    "otlab/couplings/other.py": False, "otlab/flows/paths.py": False,
    "otlab/lab/explore/static/explore.js": False, "otlab/lab/explore/static/explore.css": False,
    "notebooks/results/yours/long.json": False, "notebooks/results/mine/record.json": False,
}


@pytest.mark.parametrize("name, counts", CHANGES.items())
def test_a_run_is_repeated_for_what_it_depends_on_and_nothing_else(checkout, name, counts):
    path = notebook(checkout, "from otlab.couplings import sinkhorn\n"
                              "from otlab.lab import explore")
    before = fingerprint(checkout, path, "page")
    assert before == fingerprint(checkout, path, "page") != fingerprint(checkout, path, "smoke")
    (checkout / name).write_text((checkout / name).read_text() + "\n# changed\n")
    assert (fingerprint(checkout, path, "page") != before) is counts


def test_data_beside_a_module_counts_with_it(checkout):
    probes = notebook(checkout, "from otlab.steering import probes")
    assert checkout / "otlab/steering/facts/truth.json" in dependencies(checkout, probes)
    paths = notebook(checkout, "from otlab.flows import paths")
    assert checkout / "otlab/steering/facts/truth.json" not in dependencies(checkout, paths)


def test_prose_and_comments_count_only_where_they_are_run(checkout):
    first = notebook(checkout, "n = 1\n# a note\nm = 2")
    source, run = source_hash(first), fingerprint(checkout, first, "page")
    notebook(checkout, "n = 1\n# a note\nm = 2", prose="# Mine, said better")
    assert (source_hash(first), fingerprint(checkout, first, "page")) == (source, run)
    notebook(checkout, "n = 1\n\n# another note\nm = 2")
    assert source_hash(first) == source and fingerprint(checkout, first, "page") != run
    notebook(checkout, "n = 1\n# a note\nm = 3")
    assert source_hash(first) != source
    assert code_cells(first) == ["n = 1\n# a note\nm = 3"]
