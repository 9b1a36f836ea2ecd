"""The points of a sweep: a grid of parameter values, checked before anything starts."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from otlab import __version__
from otlab.lab.execution.chapters import Chapter
from otlab.lab.execution.parameters import (
    ParameterError,
    check_parameters,
    effective_budget,
    parse_pairs,
    require_known,
    split_pair,
    split_values,
)


@dataclass(frozen=True)
class Grid:
    """swept: names in the order given. points: every parameter of every run, without repeats."""

    swept: tuple[str, ...]
    points: list[dict[str, Any]]


def read_grid(chapter: Chapter, grids: Iterable[str], pairs: Iterable[str] = (),
              budget: str | None = None) -> Grid:
    """From the text of ``--grid name=v1,v2``, ``-p name=value`` and ``--budget``.

    Raises:
        ParameterError: for no grid, a name given twice, or a value that does not fit.
    """
    axes: dict[str, list] = {}
    for text in grids:
        name, values = split_pair(text, "--grid epsilon=0.01,0.1,1")
        parameter = require_known(chapter.parameters, name, chapter.name)
        if name in axes:
            raise ParameterError(f"--grid {name} is given twice; put all values into one.")
        axes[name] = [parameter.parse(value) for value in split_values(values)]
    fixed = parse_pairs(chapter.parameters, pairs, chapter=chapter.name)
    return make_grid(chapter, axes, fixed, budget)


def make_grid(chapter: Chapter, axes: Mapping[str, Iterable],
              fixed: Mapping[str, Any] | None = None, budget: str | None = None) -> Grid:
    """All combinations of `axes`, the last name moving fastest, on top of `fixed`.

    Raises:
        ParameterError: as `read_grid`.
    """
    axes, fixed = {name: list(values) for name, values in axes.items()}, dict(fixed or {})
    if not axes or not all(axes.values()):
        raise ParameterError("a sweep needs a grid, for instance --grid epsilon=0.01,0.1,1.")
    both = [name for name in axes if name in fixed or (name == "budget" and budget)]
    if both:
        raise ParameterError(f"{both[0]} is swept and fixed at once; keep one.")
    points = {}
    for values in itertools.product(*axes.values()):
        point = check_parameters(chapter.parameters, {**fixed, **dict(zip(axes, values,
                                 strict=True))}, budget=budget, chapter=chapter.name)
        points.setdefault(json.dumps(point, sort_keys=True), point)
    return Grid(tuple(axes), list(points.values()))


def run_key(chapter: Chapter, point: Mapping[str, Any]) -> str:
    """Names a run by what decides its result: cells, parameters, budget, otlab's source."""
    nb = json.loads(chapter.path.read_text(encoding="utf-8"))
    cells = [[c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", [])]
             for c in nb["cells"]]
    parts = [cells, dict(point), effective_budget(point.get("budget")), __version__,
             source_hash()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@cache
def source_hash() -> str:
    """A hash of otlab's own Python, JavaScript and CSS."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".js", ".css"):
            digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
