"""Clouds, the segments between them, and grids of small images."""

import numpy as np

from otlab.lab.figures.palette import COLOURS, MARKS, role_of


def cloud(ax, x, role: str, *, size: float = 22, label: str | None = None, **kwargs):
    """Draw points x, shape (n, 2), with the colour and the mark of their role."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"cloud draws points of shape (n, 2); got {x.shape}. "
                         "Project first, for instance on two coordinates.")
    settings = {"alpha": 0.85, "linewidths": 0.4, "edgecolors": "white", "zorder": 3} | kwargs
    ax.scatter(x[:, 0], x[:, 1], s=size, c=COLOURS[role_of(role)], marker=MARKS[role],
               label=label, **settings)
    ax.set_aspect("equal")
    return ax


def segments(ax, start, end, *, value=None, vmin=None, vmax=None, width: float = 0.9):
    """Join start to end, shape (n, 2) each; coloured by value with cividis when given."""
    from matplotlib.collections import LineCollection

    pairs = np.stack([np.asarray(start), np.asarray(end)], axis=1)
    lines = LineCollection(pairs, linewidths=width, zorder=2, cmap="cividis")
    if value is None:
        lines.set_color(COLOURS["plan"] + "55")
    else:
        lines.set_array(np.asarray(value))
        lines.set_clim(vmin, vmax)
    ax.add_collection(lines)
    ax.autoscale_view()
    return lines


def image_grid(ax, images, *, columns: int, gap: int = 1, title: str | None = None):
    """Tile grey images, shape (k, h, w) in [-1, 1], on one axis."""
    images = np.clip(np.asarray(images), -1, 1)
    k, h, w = images.shape
    rows = -(-k // columns)
    canvas = np.ones((rows * (h + gap) - gap, columns * (w + gap) - gap))
    for i, im in enumerate(images):
        r, c = divmod(i, columns)
        canvas[r * (h + gap):r * (h + gap) + h, c * (w + gap):c * (w + gap) + w] = im
    ax.imshow(canvas, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return ax
