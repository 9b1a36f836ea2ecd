"""Controls under a figure: what positions a slider has, with and without a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otlab.lab.scene.numbers import tidy


@dataclass(frozen=True)
class Control:
    """Positions that a reader can choose from.

    values: in a built page, each precomputed. live_values: with a kernel. start, live_start:
    where the control stands first, as an index into each.
    """

    kind: str  # "range" or "choice"
    values: tuple
    live_values: tuple
    start: int
    live_start: int
    label: str | None = None
    unit: str = ""
    texts: tuple | None = None

    def text(self, value) -> str:
        """The value as words, with its unit."""
        if self.texts is not None:
            return self.texts[self.values.index(value)]
        return f"{tidy(value)} {self.unit}".strip()

    def wire(self, name: str, live: bool) -> dict:
        """What the front end needs to know."""
        values = self.live_values if live else self.values
        return {
            "name": name,
            "label": self.label or name,
            "kind": self.kind,
            "texts": [self.text(value) for value in values],
            "start": self.live_start if live else self.start,
        }


def _through(values: np.ndarray, start: float, integer: bool, log: bool) -> tuple[tuple, int]:
    """The values as a tuple that passes through start exactly: it replaces its neighbour."""
    measure = np.log if log else np.asarray
    if integer:
        values = np.unique(np.round(values))
    nearest = int(np.abs(measure(values) - measure(start)).argmin())
    if values[nearest] != start and nearest in (0, len(values) - 1):
        nearest = min(max(nearest, 1), len(values) - 1)
        values = np.insert(values, nearest, start)
    values[nearest] = start
    return tuple(int(v) if integer else float(v) for v in values), nearest


def _check(kind: str, low, high, start, steps, live_steps):
    for name, value in (("low", low), ("high", high), ("start", start)):
        if not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise ValueError(f"{kind}: {name} must be a finite number; got {value!r}.")
    if not low < high:
        raise ValueError(f"{kind}: low={low} must lie below high={high}.")
    if not low <= start <= high:
        raise ValueError(f"{kind}: start={start} lies outside of {low} to {high}.")
    for name, value in (("steps", steps), ("live_steps", live_steps)):
        if value is not None and (int(value) != value or value < 2):
            raise ValueError(f"{kind}: {name}={value} positions; a slider needs at least 2.")


def slider(low, high, start, step, *, live_steps=None, label=None, unit="") -> Control:
    """A slider over low, low + step, … up to high.

    Whole numbers arrive as int when low, high, start and step are. `live_steps` gives it
    that many positions when a kernel computes them.

    Raises:
        ValueError: if start lies outside of the range or between two positions.
    """
    if not isinstance(step, (int, float, np.number)) or not step > 0:
        raise ValueError(f"slider: step={step!r} must be above 0.")
    _check("slider", low, high, start, None, live_steps)
    integer = all(isinstance(v, (int, np.integer)) for v in (low, high, start, step))
    values = low + step * np.arange(int(np.floor((high - low) / step + 1e-9)) + 1)
    nearest = int(np.abs(values - start).argmin())
    if abs(values[nearest] - start) > 1e-6 * step:
        around = sorted(values, key=lambda v: abs(v - start))[:2]
        raise ValueError(
            f"slider: start={start} is no position; the nearest are "
            f"{' and '.join(tidy(v) for v in sorted(around))}."
        )
    values, at = _through(values.astype(float), start, integer, log=False)
    live, live_at = values, at
    if live_steps is not None:
        fine = np.linspace(low, values[-1], int(live_steps))
        live, live_at = _through(fine, start, integer, log=False)
    return Control("range", values, live, at, live_at, label, unit)


def log_slider(
    low, high, start, steps, *, live_steps=None, integer=False, label=None, unit=""
) -> Control:
    """A slider for a scale: `steps` positions from low to high in equal ratios.

    The position nearest to `start` is moved onto it. integer: whole numbers. `live_steps`
    gives it that many positions when a kernel computes them.

    Raises:
        ValueError: if low is not positive, or start lies outside of the range.
    """
    _check("log_slider", low, high, start, steps, live_steps)
    if low <= 0:
        raise ValueError(
            f"log_slider: low={low} has no logarithm. Start above 0, or use slider(...)."
        )
    if integer and start != int(start):
        raise ValueError(f"log_slider: start={start} is no whole number, integer=True needs one.")
    values, at = _through(np.geomspace(low, high, int(steps)), start, integer, log=True)
    live, live_at = values, at
    if live_steps is not None:
        fine = np.geomspace(low, high, int(live_steps))
        live, live_at = _through(fine, start, integer, log=True)
    return Control("range", values, live, at, live_at, label, unit)


def choice(options, start=None, *, label=None, texts=None) -> Control:
    """A choice between a few options, shown as buttons. texts: their names, if not str(option).

    Raises:
        ValueError: if start is none of the options.
    """
    options = tuple(options)
    if len(options) < 2 or len(set(map(str, options))) != len(options):
        raise ValueError(f"choice needs at least two different options; got {list(options)!r}.")
    start = options[0] if start is None else start
    if start not in options:
        raise ValueError(f"choice: start={start!r} is none of {list(options)!r}.")
    texts = tuple(tidy(o) for o in options) if texts is None else tuple(str(t) for t in texts)
    if len(texts) != len(options):
        raise ValueError(f"choice: {len(texts)} texts for {len(options)} options.")
    at = options.index(start)
    return Control("choice", options, options, at, at, label, "", texts)
