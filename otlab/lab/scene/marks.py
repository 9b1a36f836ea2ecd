"""Marks on a pair of axes: points, segments, paths, lines; frozen dataclasses of checked arrays.

Marks say what to draw and in which role, never how: the browser draws them under a slider,
Matplotlib draws them on paper. They check their arrays when they are made, so that a
mistake is reported where it happens.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

ROLES = ("source", "target", "transported", "baseline", "plan")
COLOUR_MAPS = ("cividis", "signed", "grey", "ink")


def name_of(mark) -> str:
    """How errors call a mark: its type, with its label when it has one."""
    label = getattr(mark, "label", None)
    return f"{type(mark).__name__}({label!r})" if label else type(mark).__name__


def finite(mark, field: str, ndim: int, shape: tuple | None = None) -> np.ndarray:
    """The field as a finite float array of `ndim` axes, or a sentence saying what is wrong."""
    given = getattr(mark, field)
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name_of(mark)}: {field} must be numbers; got {type(given).__name__} ({error})."
        ) from None
    if values.ndim != ndim:
        raise ValueError(
            f"{name_of(mark)}: {field} needs {ndim} axes; got shape {values.shape}. "
            "Index or reshape it to what one picture shows."
        )
    if shape is not None and values.shape != shape:
        raise ValueError(
            f"{name_of(mark)}: {field} has shape {values.shape}, beside the other arrays it "
            f"should have {shape}."
        )
    bad = np.flatnonzero(~np.isfinite(values.ravel()))
    if len(bad):
        where = np.unravel_index(bad[0], values.shape)
        raise ValueError(
            f"{name_of(mark)}: {field} holds {len(bad)} values that are not finite (the first at "
            f"index {tuple(int(i) for i in where)}). Drop them, or find out where they come from."
        )
    return values


class Mark:
    """Something drawn on a panel. `spans()` lists the coordinates that the axes must hold."""

    layout = "axes"  # or "matrix", "images": marks that have no coordinates

    def _set(self, **values):
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def _check_role(self):
        if self.role not in ROLES:
            raise ValueError(f"{name_of(self)}: role={self.role!r} is none of {', '.join(ROLES)}.")

    def _check_planar(self, field: str, ndim: int = 2) -> np.ndarray:
        values = finite(self, field, ndim)
        if values.shape[-1] != 2:
            raise ValueError(
                f"{name_of(self)}: {field} must end in an axis of two coordinates; got shape "
                f"{values.shape}. Project it first."
            )
        return values

    def _check_value(self, n: int):
        """Colour values, one per element, and their limits."""
        if self.value is not None:
            self._set(value=finite(self, "value", 1, (n,)))
        self._check_limits()

    def _check_limits(self):
        if self.cmap not in COLOUR_MAPS:
            raise ValueError(
                f"{name_of(self)}: cmap={self.cmap!r} is none of {', '.join(COLOUR_MAPS)}."
            )
        low, high = self.vmin, self.vmax
        if low is not None and high is not None and not float(low) < float(high):
            raise ValueError(f"{name_of(self)}: vmin={low} must lie below vmax={high}.")

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """All horizontal and all vertical coordinates, two flat arrays."""
        return np.empty(0), np.empty(0)

    def colours(self) -> np.ndarray | None:
        """What a colour map shows, or None when the role alone gives the colour."""
        return None if getattr(self, "value", None) is None else np.atleast_1d(self.value)


@dataclass(frozen=True, eq=False)
class Points(Mark):
    """A cloud x (n, 2), in the colour and shape of its role, or coloured by value (n,).

    size: radius in pixels, chosen from n when None. label: its entry in the legend, or,
    with values, the name of the colour scale.
    """

    x: Any
    role: str = "source"
    _: KW_ONLY
    value: Any = None
    vmin: float | None = None
    vmax: float | None = None
    cmap: str = "cividis"
    label: str | None = None
    size: float | None = None

    def __post_init__(self):
        self._check_role()
        self._set(x=self._check_planar("x"))
        self._check_value(len(self.x))

    def spans(self):
        return self.x[:, 0], self.x[:, 1]


@dataclass(frozen=True, eq=False)
class Segments(Mark):
    """Straight segments from x (n, 2) to y (n, 2): thin and grey, or coloured by value (n,)."""

    x: Any
    y: Any
    _: KW_ONLY
    role: str = "plan"
    value: Any = None
    vmin: float | None = None
    vmax: float | None = None
    cmap: str = "cividis"
    label: str | None = None
    head: bool = False

    def __post_init__(self):
        self._check_role()
        self._set(x=self._check_planar("x"), y=self._check_planar("y"))
        if self.x.shape != self.y.shape:
            raise ValueError(
                f"{name_of(self)}: x has shape {self.x.shape} and y has shape {self.y.shape}; a "
                "segment needs one end in each. Index both by the pairs: x[i], y[j]."
            )
        self._check_value(len(self.x))

    def spans(self):
        ends = np.concatenate([self.x, self.y])
        return ends[:, 0], ends[:, 1]


def Arrows(x, v, *, scale: float = 1.0, role: str = "plan", label: str | None = None, **colour):
    """A field of arrows from x (n, 2) to x + scale · v: segments with a head."""
    x, v = np.asarray(x, np.float64), np.asarray(v, np.float64)
    return Segments(x, x + scale * v, role=role, label=label, head=True, **colour)


@dataclass(frozen=True, eq=False)
class Paths(Mark):
    """n broken lines x (n, k, 2), such as trajectories; coloured by value (n,) if given."""

    x: Any
    role: str = "transported"
    _: KW_ONLY
    value: Any = None
    vmin: float | None = None
    vmax: float | None = None
    cmap: str = "cividis"
    label: str | None = None

    def __post_init__(self):
        self._check_role()
        self._set(x=self._check_planar("x", 3))
        self._check_value(len(self.x))

    def spans(self):
        return self.x[..., 0].ravel(), self.x[..., 1].ravel()


@dataclass(frozen=True, eq=False)
class Lines(Mark):
    """One line through (x, y), both (k,), its label written at its end.

    band: (low, high), both (k,), shaded around it. value: a number that colours the whole
    line on the scale vmin..vmax, for families of lines in an order. marks: a mark at each
    point; by default when there are at most 12.
    """

    x: Any
    y: Any
    _: KW_ONLY
    role: str = "transported"
    label: str | None = None
    band: Any = None
    value: float | None = None
    vmin: float | None = None
    vmax: float | None = None
    cmap: str = "cividis"
    marks: bool | None = None

    def __post_init__(self):
        self._check_role()
        self._set(x=finite(self, "x", 1))
        self._set(y=finite(self, "y", 1, self.x.shape))
        if self.band is not None:
            if not isinstance(self.band, (tuple, list)) or len(self.band) != 2:
                raise ValueError(f"{name_of(self)}: band must be a pair (low, high) of arrays.")
            self._set(band=tuple(np.asarray(edge) for edge in self.band))
            for side in (0, 1):
                edge = _Edge(self.band[side], self.label)
                finite(edge, "band", 1, self.x.shape)
        if self.value is not None:
            self._set(value=float(self.value))
        self._check_limits()

    def spans(self):
        edges = () if self.band is None else self.band
        return self.x, np.concatenate([self.y, *edges])


class _Edge:
    """One edge of a band, so that its errors name the line."""

    def __init__(self, band, label):
        self.band, self.label = band, label


_Edge.__name__ = "Lines"


@dataclass(frozen=True, eq=False)
class Rule(Mark):
    """A thin reference line across the panel: at one x or at one y."""

    _: KW_ONLY
    x: float | None = None
    y: float | None = None
    label: str | None = None
    role: str = "plan"

    def __post_init__(self):
        self._check_role()
        if (self.x is None) == (self.y is None):
            raise ValueError(f"{name_of(self)} needs exactly one of x and y.")
        field = "y" if self.x is None else "x"
        self._set(**{field: float(finite(self, field, 0))})

    def spans(self):
        return tuple(np.empty(0) if v is None else np.array([v]) for v in (self.x, self.y))


@dataclass(frozen=True, eq=False)
class Labels(Mark):
    """Words beside the points x (k, 2)."""

    x: Any
    texts: Any
    _: KW_ONLY
    role: str = "plan"

    def __post_init__(self):
        self._check_role()
        self._set(x=self._check_planar("x"), texts=tuple(str(t) for t in self.texts))
        if len(self.texts) != len(self.x):
            raise ValueError(f"Labels: {len(self.texts)} texts for {len(self.x)} points.")

    def spans(self):
        return self.x[:, 0], self.x[:, 1]
