"""Marks that fill an area: bars, heat maps and grids of images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from otlab.lab.scene.marks import Mark, finite, name_of

MAX_CELLS = 256  # a side of a heat map; beyond it, blocks are averaged


@dataclass(frozen=True, eq=False)
class Bars(Mark):
    """Bars of height `values` (k,) over names; several on one panel stand side by side.

    interval: (low, high), both (k,), drawn as whiskers. The axis always holds zero.
    """

    values: Any
    names: Any = None
    _: KW_ONLY
    role: str = "transported"
    label: str | None = None
    interval: Any = None

    def __post_init__(self):
        self._check_role()
        self._set(values=finite(self, "values", 1))
        k = len(self.values)
        names = range(1, k + 1) if self.names is None else self.names
        self._set(names=tuple(str(name) for name in names))
        if len(self.names) != k:
            raise ValueError(f"{name_of(self)}: {len(self.names)} names for {k} bars.")
        if self.interval is not None:
            low_high = np.asarray(self.interval, dtype=np.float64)
            self._set(interval=low_high)
            self._set(interval=finite(self, "interval", 2, (2, k)))

    def spans(self):
        edges = () if self.interval is None else tuple(self.interval)
        return np.array([-0.5, len(self.values) - 0.5]), np.concatenate([[0], self.values, *edges])


@dataclass(frozen=True, eq=False)
class Heatmap(Mark):
    """Colours for an array z (rows, columns), row 0 on top.

    extent: (x0, x1, y0, y1) lays it under points instead, row 0 at y0. cmap: "cividis" for
    amounts; "signed" is centred on zero. More than 256 cells a side are averaged in blocks.
    """

    z: Any
    _: KW_ONLY
    cmap: str = "cividis"
    vmin: float | None = None
    vmax: float | None = None
    extent: Any = None
    label: str | None = None

    def __post_init__(self):
        z = finite(self, "z", 2)
        if 0 in z.shape:
            raise ValueError(f"{name_of(self)}: z is empty, shape {z.shape}.")
        self._check_limits()
        if self.cmap == "signed" and None not in (self.vmin, self.vmax):
            if not np.isclose(self.vmin, -self.vmax):
                raise ValueError(
                    f"{name_of(self)}: a signed map is centred on zero; give vmin=-{self.vmax}."
                )
        self._set(z=block_mean(block_mean(z, 0), 1))
        if self.extent is not None:
            self._set(extent=tuple(float(v) for v in finite(self, "extent", 1, (4,))))

    @property
    def layout(self):
        return "matrix" if self.extent is None else "axes"

    def spans(self):
        if self.extent is None:
            return np.empty(0), np.empty(0)
        return np.array(self.extent[:2]), np.array(self.extent[2:])

    def colours(self):
        return self.z.ravel()


def block_mean(z: np.ndarray, axis: int, cells: int = MAX_CELLS) -> np.ndarray:
    """Average equal blocks along an axis until at most `cells` remain."""
    n = z.shape[axis]
    if n <= cells:
        return z
    starts = np.unique(np.linspace(0, n, cells, endpoint=False).astype(int))
    sizes = np.diff(np.append(starts, n))
    sums = np.add.reduceat(z, starts, axis=axis)
    return sums / (sizes[:, None] if axis == 0 else sizes)


@dataclass(frozen=True, eq=False)
class Images(Mark):
    """A grid of k pictures (k, h, w), or (k, h, w, 3) in colour, with values in vmin..vmax.

    cmap: "ink" shows high as dark, "grey" as light. labels: a word under each.
    """

    stack: Any
    _: KW_ONLY
    columns: int | None = None
    labels: Any = None
    vmin: float = -1.0
    vmax: float = 1.0
    cmap: str = "ink"
    layout = "images"

    def __post_init__(self):
        ndim = np.ndim(self.stack)
        stack = finite(self, "stack", 4 if ndim == 4 else 3)
        if 0 in stack.shape or (ndim == 4 and stack.shape[-1] != 3):
            raise ValueError(
                f"Images: stack has shape {stack.shape}; give at least one picture, "
                "(k, h, w) or (k, h, w, 3)."
            )
        self._check_limits()
        columns = self.columns or int(np.ceil(np.sqrt(len(stack))))
        labels = None if self.labels is None else tuple(str(text) for text in self.labels)
        if labels is not None and len(labels) != len(stack):
            raise ValueError(f"Images: {len(labels)} labels for {len(stack)} pictures.")
        self._set(stack=stack, columns=int(columns), labels=labels)
