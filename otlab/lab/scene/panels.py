"""Pictures as data: marks on panels, beside dials and texts, drawn by more than one front end.

    scene(panel(Points(x), Points(y, role="target"), title="Pairs", equal=True),
          Dial("sharpness", E, target=0.1), say="Sharpness 0.23.")

The browser draws a scene under a slider (`otlab.lab.explore.view`); Matplotlib draws the still
that stands in its place on paper (`otlab.lab.scene.still`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otlab.lab.scene.areas import Bars, Heatmap, Images
from otlab.lab.scene.marks import (
    Arrows,
    Labels,
    Lines,
    Mark,
    Paths,
    Points,
    Rule,
    Segments,
    name_of,
)

__all__ = [
    "Arrows", "Bars", "Dial", "Heatmap", "Images", "Labels", "Lines", "Panel", "Paths",
    "Points", "Rule", "Scene", "Segments", "Text", "panel", "scene",
]  # fmt: skip

SCALES = ("linear", "log")


def _number(owner: str, field: str, value) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{owner}: {field} must be one number; got {value!r}.") from None
    if not np.isfinite(number):
        raise ValueError(f"{owner}: {field} is {number}, which no picture can show.")
    return number


@dataclass(frozen=True, eq=False)
class Dial:
    """A gauge from low to high with its value in figures, and a tick at the target if given."""

    name: str
    value: Any
    low: float = 0.0
    high: float = 1.0
    target: float | None = None
    unit: str = ""

    def __post_init__(self):
        for field in ("value", "low", "high", "target"):
            if field != "target" or self.target is not None:
                number = _number(f"Dial({self.name!r})", field, getattr(self, field))
                object.__setattr__(self, field, number)
        if not self.low < self.high:
            raise ValueError(
                f"Dial({self.name!r}): low={self.low} must lie below high={self.high}."
            )


@dataclass(frozen=True, eq=False)
class Text:
    """A short read-out: a name and what to say about it."""

    name: str
    text: str

    def __post_init__(self):
        object.__setattr__(self, "text", str(self.text))


@dataclass(frozen=True, eq=False)
class Panel:
    """Marks that share a pair of axes; see `panel`."""

    marks: tuple
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple | None = None
    ylim: tuple | None = None
    xscale: str = "linear"
    yscale: str = "linear"
    xticks: tuple | None = None
    yticks: tuple | None = None
    equal: bool = False
    axes: bool = True
    legend: bool = True

    @property
    def name(self) -> str:
        """How errors call this panel."""
        return f"panel {self.title!r}" if self.title else "panel"

    @property
    def layout(self) -> str:
        """What fills the panel: "axes", "matrix" or "images"."""
        return self.marks[0].layout

    def __post_init__(self):
        self._check_marks()
        for axis in ("x", "y"):
            self._check_axis(axis)
        if self.equal and (self.xscale, self.yscale) != ("linear", "linear"):
            raise ValueError(f"{self.name}: equal=True needs two linear axes.")

    def _check_marks(self):
        if not self.marks:
            raise ValueError(f"{self.name} is empty; give at least one mark, e.g. Points(x).")
        for mark in self.marks:
            if isinstance(mark, (Dial, Text)):
                raise ValueError(
                    f"{self.name}: {type(mark).__name__}({mark.name!r}) stands beside panels; "
                    "pass it to scene(...)."
                )
            if not isinstance(mark, Mark):
                raise ValueError(
                    f"{self.name}: {type(mark).__name__} is no mark; wrap arrays, "
                    "e.g. Points(x) or Heatmap(P)."
                )
        if len({mark.layout for mark in self.marks}) > 1:
            raise ValueError(
                f"{self.name} mixes {', '.join(name_of(m) for m in self.marks)}. Images and a "
                "Heatmap without extent fill a panel of their own."
            )
        if self.layout != "axes" and len(self.marks) > 1:
            raise ValueError(f"{self.name}: one {name_of(self.marks[0])} fills a panel.")
        if len({m.names for m in self.marks if isinstance(m, Bars)}) > 1:
            raise ValueError(f"{self.name}: Bars side by side need the same names.")

    def _check_axis(self, axis: str):
        scale = getattr(self, f"{axis}scale")
        if scale not in SCALES:
            raise ValueError(f"{self.name}: {axis}scale={scale!r} is neither linear nor log.")
        limits = getattr(self, f"{axis}lim")
        if limits is not None:
            low, high = (_number(self.name, f"{axis}lim", v) for v in limits)
            if not low < high:
                raise ValueError(f"{self.name}: {axis}lim=({low}, {high}) must rise.")
            object.__setattr__(self, f"{axis}lim", (low, high))
        ticks = getattr(self, f"{axis}ticks")
        if ticks is not None:
            ticks = tuple(_number(self.name, f"{axis}ticks", v) for v in ticks)
            object.__setattr__(self, f"{axis}ticks", ticks)
        if scale == "log":
            for mark in self.marks:
                values = mark.spans()[axis == "y"]
                if len(values) and values.min() <= 0:
                    raise ValueError(
                        f"{self.name}: {name_of(mark)} reaches {values.min():.3g} on a log "
                        f"{axis} axis. Drop what is not positive, or use {axis}scale='linear'."
                    )
            if (limits is not None and limits[0] <= 0) or any(t <= 0 for t in ticks or ()):
                raise ValueError(f"{self.name}: a log {axis} axis holds positive numbers only.")


def panel(
    *marks,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xlim=None,
    ylim=None,
    xscale: str = "linear",
    yscale: str = "linear",
    xticks=None,
    yticks=None,
    equal: bool = False,
    axes: bool = True,
    legend: bool = True,
) -> Panel:
    """Marks on one pair of axes.

    Args:
        marks: `Points`, `Segments`, `Paths`, `Lines`, `Bars`, …; or a single `Heatmap` or
            `Images`, which fills the panel.
        title: what the panel shows; xlabel, ylabel: what its axes measure, with the unit.
        xlim, ylim: (low, high). Left out, they hold every state a slider can reach (with a
            kernel: every state seen so far), so that axes never jump.
        xscale, yscale: "linear" or "log".
        xticks, yticks: where to put ticks, if not at round numbers.
        equal: one unit measures the same along both axes; for points in the plane.
        axes: False leaves out ticks and grid.
        legend: False leaves out the legend made from the marks' labels.

    Raises:
        ValueError: for arrays, limits or mixtures that no panel can show.
    """
    return Panel(
        tuple(marks), title, xlabel, ylabel, xlim, ylim, xscale, yscale, xticks, yticks,
        bool(equal), bool(axes), bool(legend),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scene:
    """One state of a figure: panels, dials and texts, and a sentence for screen readers."""

    panels: tuple
    readouts: tuple = ()
    say: str = ""


def scene(*items, say: str = "") -> Scene:
    """Panels side by side, with `Dial` and `Text` read-outs above them.

    Args:
        items: the results of `panel`, and `Dial`s and `Text`s, in any order.
        say: the state in one sentence, read aloud when a control has moved.
    """
    panels = tuple(item for item in items if isinstance(item, Panel))
    readouts = tuple(item for item in items if isinstance(item, (Dial, Text)))
    for item in items:
        if isinstance(item, Mark):
            raise ValueError(f"scene: put {name_of(item)} on a panel: panel({name_of(item)}, …).")
        if not isinstance(item, (Panel, Dial, Text)):
            raise ValueError(
                f"scene takes panels, Dials and Texts; got {type(item).__name__}."
            )
    if not panels and not readouts:
        raise ValueError("scene is empty; give it at least one panel.")
    return Scene(panels, readouts, str(say))
