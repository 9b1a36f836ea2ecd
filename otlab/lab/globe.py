"""Maps of the sphere as arrows along great circles, on a globe that the reader turns."""

import json

import matplotlib.pyplot as plt
import numpy as np

from otlab.lab import figures

EYE = np.array([0.15, -1.15, 0.85])  # from where the globe is seen first
LAND = "#E8EDF2"


def arcs(x, y, points: int = 14) -> np.ndarray:
    """Points along the shortest great circles from unit vectors x to y, (n, d) each.

    Returns shape (n, points, d). Between antipodes every great circle is shortest, and none
    is drawn: NaN.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    cosine = np.clip((x * y).sum(1), -1, 1)
    angle = np.arccos(cosine)[:, None, None]
    t = np.linspace(0, 1, points)[None, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.sin(s * angle) / np.sin(angle) for s in (1 - t, t))
    straight = (1 - t) * x[:, None] + t * y[:, None]
    path = np.where(angle < 1e-4, straight, a * x[:, None] + b * y[:, None])
    return np.where((cosine < -1 + 1e-9)[:, None, None], np.nan, path)


class Globe:
    """A turnable figure over its still; made by `globe`."""

    def __init__(self, figure, still):
        self.figure, self.still = figure, still

    def _repr_mimebundle_(self, include=None, exclude=None):
        plot = json.loads(self.figure.to_json())
        return self.still._repr_mimebundle_() | {"application/vnd.plotly.v1+json": plot}


def globe(x, y, ends, *, labels, control: str, start: int, title: str, alt: str,
          caption: str) -> Globe:
    """Clouds on the unit sphere, and several maps of the first as arrows; a slider chooses.

    Args:
        x: where arrows begin, unit vectors (n, 3).
        y: the target cloud, (m, 3).
        ends: images of x under k maps, (k, n, 3).
        labels: k values of the slider, as words.
        control: name of the slider.   start: the map shown first; the still has 0 beside it.
        title, alt, caption: a heading; what is shown, for who does not see it; the finding.

    Raises:
        ValueError: for shapes that do not fit.
    """
    x, y, ends = (np.asarray(v, float) for v in (x, y, ends))
    if x.ndim != 2 or x.shape[1] != 3 or ends.shape != (len(labels), *x.shape):
        raise ValueError(f"globe wants x (n, 3) and ends (k, n, 3) with k labels; got {x.shape}, "
                         f"{ends.shape} and {len(labels)} labels.")
    import plotly.graph_objects as go

    traces = [_ball(go), _cloud(go, x, "source", "circle", "source"),
              _cloud(go, y, "target", "cross", "target")]
    for k, end in enumerate(ends):
        traces += _arrows(go, arcs(x, end), k == start)
    steps = [{"label": label, "method": "restyle", "args": [
        {"visible": [True] * 3 + [j == k for j in range(len(labels)) for _ in range(2)]}]}
        for k, label in enumerate(labels)]
    hidden = {"visible": False, "showspikes": False}
    layout = {
        "title": {"text": title, "font": {"size": 14}}, "template": "none", "height": 520,
        "margin": {"l": 0, "r": 0, "t": 40, "b": 10}, "meta": {"alt": alt, "caption": caption},
        "scene": {"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data",
                  "domain": {"x": [0, 1], "y": [0.08, 1]},  # the legend stands below
                  "camera": {"eye": dict(zip("xyz", EYE.tolist(), strict=True))}},
        "legend": {"x": 0, "y": 0, "yanchor": "bottom", "orientation": "h",
                   "itemsizing": "constant"}, "sliders": [{
            "active": start, "steps": steps, "currentvalue": {"prefix": f"{control} = "},
            "pad": {"t": 10}, "x": 0.1, "len": 0.8}]}
    titles = [f"{control} = {labels[k]}" for k in (0, start)]
    return Globe(go.Figure(traces, layout), _still(x, y, ends[[0, start]], titles, alt, caption))


def _ball(go):
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 37), np.linspace(0, np.pi, 19))
    xyz = [np.round(c, 3) for c in (np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v))]
    return go.Surface(**dict(zip("xyz", xyz, strict=True)), opacity=0.6, showscale=False,
                      colorscale=[[0, LAND], [1, LAND]], hoverinfo="skip",
                      lighting={"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0})


def _cloud(go, p, role: str, symbol: str, name: str):
    x, y, z = np.round(1.01 * p, 3).astype(np.float32).T
    return go.Scatter3d(x=x, y=y, z=z, mode="markers", name=name, hoverinfo="name", marker={
        "size": 3.2, "symbol": symbol, "color": figures.COLOURS[role]})


def _arrows(go, paths, shown: bool):
    """Arcs as one broken line, and their heads as cones."""
    lines = np.full((len(paths), paths.shape[1] + 1, 3), np.nan)
    lines[:, :-1] = 1.012 * paths
    head, back = lines[:, -2], lines[:, -2] - lines[:, -3]
    back = back / np.maximum(np.linalg.norm(back, axis=1, keepdims=True), 1e-9)
    x, y, z = np.round(lines.reshape(-1, 3), 3).astype(np.float32).T
    u, v, w = np.round(back, 3).astype(np.float32).T
    hx, hy, hz = np.round(head, 3).astype(np.float32).T
    colour = figures.COLOURS["transported"]
    return [go.Scatter3d(x=x, y=y, z=z, mode="lines", line={"color": colour, "width": 4},
                         name="x to T x", visible=shown, hoverinfo="skip"),
            go.Cone(x=hx, y=hy, z=hz, u=u, v=v, w=w, anchor="tip", sizemode="absolute",
                    sizeref=0.6, colorscale=[[0, colour], [1, colour]], showscale=False,
                    visible=shown, hoverinfo="skip", name="heads")]


def _still(x, y, ends, titles, alt: str, caption: str):
    """Seen from EYE, two maps side by side; what lies behind the globe is faint."""
    front = EYE / np.linalg.norm(EYE)
    right = np.cross([0.0, 0.0, 1.0], front)
    right /= np.linalg.norm(right)
    view = np.stack([right, np.cross(front, right), front], axis=1)
    with figures.style():
        fig, axes = plt.subplots(1, len(ends), figsize=(7, 3.5))
        for ax, end, title in zip(axes, ends, titles, strict=True):
            ax.add_patch(plt.Circle((0, 0), 1, fc=LAND, ec=figures.COLOURS["plan"], lw=0.8))
            for path in arcs(x, end, 40) @ view:
                for part, alpha in ((path[:, 2] >= 0, 0.95), (path[:, 2] < 0, 0.25)):
                    p = np.where(part[:, None], path[:, :2], np.nan)
                    ax.plot(*p.T, color=figures.COLOURS["transported"], lw=1, alpha=alpha)
            for cloud, role in ((y, "target"), (x, "source"), (end, "transported")):
                p = cloud @ view
                figures.cloud(ax, p[p[:, 2] >= 0, :2], role, size=11)
            ax.set(title=title, xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
            ax.set_aspect("equal")
            ax.axis("off")
    return figures.show(fig, alt=alt, caption=caption)
