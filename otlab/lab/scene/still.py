"""A scene on paper: the picture that stands in a page without JavaScript, and in print."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from otlab.lab.figures import COLOURS, LINES, MARKS, style
from otlab.lab.scene.areas import Bars, Heatmap, Images
from otlab.lab.scene.marks import Labels, Lines, Paths, Points, Rule, Segments
from otlab.lab.scene.numbers import tidy
from otlab.lab.scene.panels import Dial

DPI = 80
SHARPNESS = 1.6  # pixels drawn for each one shown, for fine screens and paper
SIGNED = ("#00456e", "#0072B2", "#7fb6d9", "#f6f6f4", "#efae85", "#D55E00", "#7f3300")


@dataclass(frozen=True)
class Still:
    """A PNG and the size to show it at, in CSS pixels."""

    png: bytes
    width: int
    height: int


def draw_still(scene, limits) -> Still:
    """Draw a scene with Matplotlib; limits: the `otlab.lab.explore.pack.Limits` that saw it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(scene.panels), 3) or 1
    if len(scene.panels) == 4:
        columns = 2
    rows = -(-len(scene.panels) // columns)
    width = {1: 5.2, 2: 8.4, 3: 10.2}[columns]
    height = rows * width / columns * 0.92 + (0.4 if scene.readouts else 0)
    with style():
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        if scene.readouts:
            figure.suptitle("     ".join(map(_readout, scene.readouts)), fontsize=10)
        for i, panel in enumerate(scene.panels):
            _draw_panel(figure.add_subplot(rows, columns, i + 1), i, panel, limits)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI * SHARPNESS, metadata={"Software": None})
    return Still(_indexed(out.getvalue()), round(width * DPI), round(height * DPI))


def _indexed(png: bytes) -> bytes:
    """The same picture in 256 colours, a third of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _readout(readout) -> str:
    if not isinstance(readout, Dial):
        return f"{readout.name}: {readout.text}"
    text = f"{readout.name}: {tidy(readout.value)} {readout.unit}".strip()
    return text if readout.target is None else f"{text} (target {tidy(readout.target)})"


def _map(name: str):
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    if name == "signed":
        return LinearSegmentedColormap.from_list("signed", SIGNED)
    return colormaps[{"grey": "gray", "ink": "gray_r"}.get(name, name)]


def _draw_panel(ax, i: int, panel, limits):
    ax.set_title(panel.title, loc="left", fontweight="bold")
    if panel.layout == "axes":
        for axis in ("x", "y"):
            low, high = limits.axis(i, panel, axis)
            log = getattr(panel, f"{axis}scale") == "log"
            getattr(ax, f"set_{axis}scale")(getattr(panel, f"{axis}scale"))
            getattr(ax, f"set_{axis}lim")(*(10**low, 10**high) if log else (low, high))
    for j, mark in enumerate(panel.marks):
        _DRAW[type(mark)](ax, mark, i, j, panel, limits)
    ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    for axis in ("x", "y"):
        ticks = getattr(panel, f"{axis}ticks")
        if ticks:
            getattr(ax, f"set_{axis}ticks")(ticks, [tidy(t) for t in ticks])
            getattr(ax, f"{axis}axis").set_minor_locator(_nothing())
    if panel.equal:
        ax.set_aspect("equal")
    if panel.layout != "axes" or not panel.axes:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    if panel.legend and ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8, loc="best")


def _nothing():
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _colour(mark, i, j, limits) -> dict:
    """Settings for a collection coloured by value, or by role alone."""
    if mark.value is None:
        return {"color": COLOURS[mark.role]}
    low, high = limits.colour(i, j, mark)
    return {"array": mark.value, "cmap": _map(mark.cmap), "clim": (low, high)}


def _bar(ax, artist, label):
    bar = ax.figure.colorbar(artist, ax=ax, shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)
    if label:
        bar.set_label(label, fontsize=9)


def _points(ax, mark: Points, i, j, panel, limits):
    size = (mark.size or point_radius(len(mark.x))) ** 2 * 3.2
    colour = _colour(mark, i, j, limits)
    values, clim = colour.pop("array", None), colour.pop("clim", (None, None))
    points = ax.scatter(
        *mark.x.T, s=size, c=values, vmin=clim[0], vmax=clim[1], marker=MARKS[mark.role],
        linewidths=0.4, edgecolors="white", zorder=3,
        label=mark.label if values is None else None,
        **({"color": colour["color"]} if values is None else {"cmap": colour["cmap"]}),
    )  # fmt: skip
    if values is not None and len(values):
        _bar(ax, points, mark.label)


def point_radius(n: int) -> float:
    """Radius of a mark in pixels when n share a panel; the front end has the same rule."""
    return float(np.clip(9 - 0.95 * np.log2(max(n, 1)), 1.7, 4.6))


def _collection(ax, lines, mark, i, j, limits):
    from matplotlib.collections import LineCollection

    width = float(np.clip(3 - 0.25 * np.log2(max(len(lines), 1)), 0.5, 1.6))
    drawn = LineCollection(lines, linewidths=width, zorder=2, **_colour(mark, i, j, limits))
    drawn.set_alpha(0.45 if mark.value is None else 0.9)
    ax.add_collection(drawn)
    if mark.value is not None and len(mark.value):
        _bar(ax, drawn, mark.label)


def _segments(ax, mark: Segments, i, j, panel, limits):
    if mark.head:
        colour = _colour(mark, i, j, limits)
        args = [*mark.x.T, *(mark.y - mark.x).T]
        style = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004}
        if mark.value is None:
            ax.quiver(*args, color=colour["color"], **style)
        else:
            drawn = ax.quiver(*args, mark.value, cmap=colour["cmap"], **style)
            drawn.set_clim(*colour["clim"])
            _bar(ax, drawn, mark.label)
        return
    _collection(ax, np.stack([mark.x, mark.y], 1), mark, i, j, limits)


def _paths(ax, mark: Paths, i, j, panel, limits):
    _collection(ax, mark.x, mark, i, j, limits)


def _lines(ax, mark: Lines, i, j, panel, limits):
    colour = COLOURS[mark.role]
    if mark.value is not None:
        low, high = limits.colour(i, j, mark)
        colour = _map(mark.cmap)((mark.value - low) / (high - low))
    marked = len(mark.x) <= 12 if mark.marks is None else mark.marks
    ax.plot(
        mark.x, mark.y, LINES.get(mark.role, "-"), color=colour, label=mark.label,
        marker=MARKS[mark.role] if marked and mark.role != "plan" else None, markersize=4.5,
    )  # fmt: skip
    if mark.band is not None:
        ax.fill_between(mark.x, *mark.band, color=colour, alpha=0.18, linewidth=0)


def _rule(ax, mark: Rule, i, j, panel, limits):
    style = {"color": COLOURS[mark.role], "linestyle": (0, (4, 3)), "linewidth": 1}
    if mark.x is None:
        ax.axhline(mark.y, label=mark.label, **style)
    else:
        ax.axvline(mark.x, label=mark.label, **style)


def _labels(ax, mark: Labels, i, j, panel, limits):
    for (x, y), text in zip(mark.x, mark.texts, strict=True):
        ax.annotate(text, (x, y), (4, 3), textcoords="offset points", fontsize=9,
                    color=COLOURS[mark.role])  # fmt: skip


def _bars(ax, mark: Bars, i, j, panel, limits):
    group = [m for m in panel.marks if isinstance(m, Bars)]
    at = next(k for k, m in enumerate(group) if m is mark)
    width = 0.76 / len(group)
    x = np.arange(len(mark.values)) + (at - (len(group) - 1) / 2) * width
    ax.bar(x, mark.values, width * 0.92, color=COLOURS[mark.role], label=mark.label)
    if mark.interval is not None:
        ax.vlines(x, *mark.interval, color=COLOURS["plan"], linewidth=1.4)
    ax.set_xticks(np.arange(len(mark.values)), mark.names)


def _heatmap(ax, mark: Heatmap, i, j, panel, limits):
    low, high = limits.colour(i, j, mark)
    place = {} if mark.extent is None else {"extent": mark.extent, "origin": "lower"}
    drawn = ax.imshow(
        mark.z, cmap=_map(mark.cmap), vmin=low, vmax=high, interpolation="nearest",
        aspect="equal" if mark.extent is None else "auto", zorder=0, **place,
    )  # fmt: skip
    _bar(ax, drawn, mark.label)


def _images(ax, mark: Images, i, j, panel, limits):
    k, h, w = mark.stack.shape[:3]
    columns = min(mark.columns, k)
    for at, picture in enumerate(mark.stack):
        row, column = divmod(at, columns)
        x, y = column * 1.08 * w, row * (1.08 + 0.25 * bool(mark.labels)) * h
        picture = np.clip((picture - mark.vmin) / (mark.vmax - mark.vmin), 0, 1)
        ax.imshow(picture, cmap=_map(mark.cmap), vmin=0, vmax=1, interpolation="nearest",
                  extent=(x, x + w, y + h, y))  # fmt: skip
        if mark.labels:
            ax.text(x + w / 2, y + h * 1.03, mark.labels[at], ha="center", va="top", fontsize=8)
    rows = -(-k // columns)
    ax.set_xlim(0, columns * 1.08 * w)
    ax.set_ylim(rows * (1.08 + 0.25 * bool(mark.labels)) * h, 0)


_DRAW = {
    Points: _points, Segments: _segments, Paths: _paths, Lines: _lines, Rule: _rule,
    Labels: _labels, Bars: _bars, Heatmap: _heatmap, Images: _images,
}  # fmt: skip
