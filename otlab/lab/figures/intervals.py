"""What was measured over seeds: means with intervals against steps, and in rows with names."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import NullLocator

from otlab.core.stats import Interval, mean_interval, ratio_interval
from otlab.lab.figures.palette import COLOURS, LINES, MARKS, TEXT, role_of

LABEL = 9  # points, of a line's name at its end


def band(ax, x, samples, role: str, *, label: str | None = None, level: float = 0.95,
         log: bool = False):
    """Mean over seeds with its 95 % t-interval; samples has shape (seeds, len(x)).

    log: geometric means, and intervals on the scale of the logarithm, for positive samples.
    """
    stats = _of_columns(samples, len(x), log=log, level=level)
    ax.plot(x, [s.mean for s in stats], LINES.get(role, "-"), color=COLOURS[role_of(role)],
            marker=MARKS[role], markersize=5, label=label)
    ax.fill_between(x, [s.low for s in stats], [s.high for s in stats],
                    color=COLOURS[role], alpha=0.18, linewidth=0)
    return ax


def bands(ax, steps, series: Mapping[str, tuple], *, log: str = "", line: float | None = None):
    """Band against steps: one band for each method, its name written at its end.

    Args:
        ax: axes.
        steps: what the runs were measured at, increasing, shape (k,).
        series: name → (role, samples), samples of shape (seeds, k).
        log: "x", "y" or "xy" for logarithmic axes. With y, geometric means.
        line: a level to compare with, dotted.

    Raises:
        ValueError: for samples that do not fit the steps, or are not positive where log needs it.
    """
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log is "", "x", "y" or "xy"; got {log!r}.')
    steps, ends = np.asarray(steps, dtype=float), {}
    ax.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    for name, (role, samples) in series.items():
        band(ax, steps, samples, role, log="y" in log)
        ends[name] = (role, ax.lines[-1].get_ydata()[-1])
    if line is not None:
        ax.axhline(line, color=COLOURS["plan"], linestyle=":", linewidth=1.2)
    if "x" in log and len(steps) <= 8:
        ax.set_xticks(steps, [f"{s:g}" for s in steps])
        ax.xaxis.set_minor_locator(NullLocator())
    _name_ends(ax, ends)
    return ax


def interval_rows(ax, rows: Sequence[str], series: Mapping[str, tuple], *, log: bool = False,
                  line: float | None = None):
    """Rows with intervals: a name, the seeds as dots, their mean with its 95 % interval.

    Args:
        ax: axes; rows are named on the left unless ax shares its rows with a neighbour.
        rows: names, from top to bottom.
        series: name → (role, values): samples of shape (seeds, rows), or one `Interval` for each
            row. Several series stand side by side in each row, with a legend.
        log: a logarithmic axis with geometric means, for positive values.
        line: a value to compare with, such as no effect, dotted.

    Raises:
        ValueError: for values that do not fit the rows, or are not positive where log needs it.
    """
    rows, count = list(rows), len(series)
    at = np.arange(len(rows))[::-1].astype(float)
    for k, (name, (role, values)) in enumerate(series.items()):
        y = at + 0.16 * ((count - 1) / 2 - k) * min(1, 4 / count)
        stats, colour = _intervals(values, len(rows), log=log), COLOURS[role_of(role)]
        if not all(isinstance(v, Interval) for v in values):
            dots = np.asarray(values, dtype=float)
            ax.plot(dots, np.broadcast_to(y, dots.shape), ".", color=colour, alpha=0.4, ms=4)
        means = np.array([s.mean for s in stats])
        reach = [means - [s.low for s in stats], [s.high for s in stats] - means]
        ax.errorbar(means, y, xerr=reach, fmt=MARKS[role], color=colour, ms=6, label=name)
    if line is not None:
        ax.axvline(line, color=COLOURS["plan"], linestyle=":", linewidth=1.2)
    legend = 0.08 * (len(rows) + 1) if count > 1 else 0  # room above the first row
    ax.set(xscale="log" if log else "linear", ylim=(-0.6, len(rows) - 0.4 + legend))
    ax.set_yticks(at, rows)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
    if count > 1:
        ax.legend(fontsize=8, loc="upper left", ncols=count, borderaxespad=0, columnspacing=1)
    return ax


def _intervals(values, count: int, *, log: bool) -> list[Interval]:
    if not all(isinstance(v, Interval) for v in values):
        return _of_columns(values, count, log=log, level=0.95)
    if len(values) != count:
        raise ValueError(f"there are {count} rows and {len(values)} intervals.")
    if log and min(v.low for v in values) <= 0:
        raise ValueError("log=True shows positive values; an interval reaches "
                         f"{min(v.low for v in values):g}. Use log=False, or ratio_interval.")
    return list(values)


def _of_columns(samples, count: int, *, log: bool, level: float) -> list[Interval]:
    """One interval for each column of samples (seeds, count)."""
    samples = np.asarray(samples, dtype=float)
    if samples.ndim != 2 or samples.shape[1] != count:
        raise ValueError(f"samples have one row for each seed, shape (seeds, {count}); got "
                         f"{samples.shape}.")
    if not log:
        return [mean_interval(s, level=level) for s in samples.T]
    return [ratio_interval(s, np.ones(len(s)), level=level) for s in samples.T]


def _name_ends(ax, ends: Mapping[str, tuple]) -> None:
    """Each line's name beside its last point, moved apart where two would touch."""
    height = ax.get_position().height * ax.figure.get_figheight() * 72
    gap = 1.3 * LABEL / max(height, 1)
    places = {name: ax.transAxes.inverted().transform(ax.transData.transform((1, y)))[1]
              for name, (_, y) in ends.items()}
    order = sorted(places, key=places.get)
    moved = np.array([places[name] for name in order])
    for _ in range(50 * len(order)):
        short = gap - np.diff(moved)
        if (short <= 1e-6).all():
            break
        k = int(short.argmax())
        moved[k] -= short[k] / 2
        moved[k + 1] += short[k] / 2
    for name, y in zip(order, moved, strict=True):
        ax.text(1.02, y, name, transform=ax.transAxes, va="center", fontsize=LABEL,
                color=TEXT[ends[name][0]])
