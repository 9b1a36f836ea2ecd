"""One palette, one set of marks, captions and alternative text for every still figure."""

import base64
import html
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {
    "source": "#0072B2",
    "target": "#D55E00",
    "transported": "#009E73",
    "baseline": "#CC79A7",
    "plan": "#333333",
}
MARKS = {"source": "o", "target": "^", "transported": "D", "baseline": "s", "plan": "."}
LINES = {"baseline": "--"}


def _role(role: str) -> str:
    if role not in COLOURS:
        raise ValueError(f"role is one of {', '.join(COLOURS)}; got {role!r}.")
    return role


def style():
    """The suite's look, as a context: ``with style(): fig, ax = plt.subplots()``."""
    return mpl.rc_context({
        "figure.dpi": 110, "savefig.dpi": 110, "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "font.size": 10, "axes.titlesize": 10.5, "axes.titleweight": "bold",
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555",
        "axes.labelcolor": "#333333", "xtick.color": "#555555", "ytick.color": "#555555",
        "lines.linewidth": 1.8, "legend.frameon": False, "image.cmap": "cividis",
    })


def cloud(ax, x, role: str, *, size: float = 22, label: str | None = None, **kwargs):
    """Draw points x, shape (n, 2), with the colour and the mark of their role."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"cloud draws points of shape (n, 2); got {x.shape}. "
                         "Project first, for instance on two coordinates.")
    settings = {"alpha": 0.85, "linewidths": 0.4, "edgecolors": "white", "zorder": 3} | kwargs
    ax.scatter(x[:, 0], x[:, 1], s=size, c=COLOURS[_role(role)], marker=MARKS[role],
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


def band(ax, x, samples, role: str, *, label: str | None = None, level: float = 0.95):
    """Mean over seeds with its 95 % t-interval; samples has shape (seeds, len(x))."""
    from otlab.core.stats import mean_interval

    samples = np.asarray(samples, dtype=float)
    stats = [mean_interval(s, level=level) for s in samples.T]
    mean = [s.mean for s in stats]
    ax.plot(x, mean, LINES.get(role, "-"), color=COLOURS[_role(role)], marker=MARKS[role],
            markersize=5, label=label)
    ax.fill_between(x, [s.low for s in stats], [s.high for s in stats],
                    color=COLOURS[role], alpha=0.18, linewidth=0)
    return ax


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


class Figure:
    """A still picture with its caption and alternative text, as HTML and as PNG."""

    def __init__(self, png: bytes, alt: str, caption: str, width: int):
        self.png, self.alt, self.caption, self.width = png, alt, caption, width

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = base64.b64encode(self.png).decode()
        body = (f'<figure class="otlab-figure"><img src="data:image/png;base64,{data}" '
                f'alt="{html.escape(self.alt, quote=True)}" width="{self.width}">'
                f"<figcaption>{html.escape(self.caption)}</figcaption></figure>")
        return {"text/html": body, "text/plain": f"{self.caption} [{self.alt}]"}


def show(fig, *, alt: str, caption: str) -> Figure:
    """End a cell with this: the figure, its caption (the finding) and alt text, then close it.

    Raises:
        ValueError: when the caption or the alternative text is missing.
    """
    for name, text in (("alt", alt), ("caption", caption)):
        if len(text.split()) < 4:
            raise ValueError(f"{name} must be a sentence; got {text!r}. The caption states the "
                             "finding, alt says what the picture shows.")
    buffer = io.BytesIO()
    width = round(fig.get_figwidth() * fig.dpi)
    fig.savefig(buffer, format="png", dpi=fig.dpi * 1.6, pil_kwargs={"optimize": True})
    plt.close(fig)
    return Figure(_indexed(buffer.getvalue()), alt, caption, width)


def _indexed(png: bytes) -> bytes:
    """The same picture with 256 colours: a third of the bytes, for light pages."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return min(out.getvalue(), png, key=len)
