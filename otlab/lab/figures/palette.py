"""One palette, one set of marks and one look for every still figure."""

import matplotlib as mpl

COLOURS = {
    "source": "#0072B2",
    "target": "#D55E00",
    "transported": "#009E73",
    "baseline": "#CC79A7",
    "plan": "#333333",
}
MARKS = {"source": "o", "target": "^", "transported": "D", "baseline": "s", "plan": "."}
LINES = {"baseline": "--"}
TEXT = COLOURS | {"target": "#b04c00", "transported": "#00775a", "baseline": "#9a4f7c"}  # for words


def role_of(role: str) -> str:
    """The role itself, or a sentence with those that there are."""
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
