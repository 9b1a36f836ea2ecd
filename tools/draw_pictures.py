"""Draw the book's logo and opening picture: noise joined to data, at random and optimally.

    python tools/draw_pictures.py      # writes jupyter_book/_static/{hero,logo,favicon}.svg
"""

from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

STATIC = Path(__file__).resolve().parent.parent / "jupyter_book" / "_static"
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#8a929a"


def clouds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian noise on the left, a half ring on the right, shape (n, 2) each."""
    rng = np.random.default_rng(seed)
    x = rng.normal([-1.3, 0.0], [0.36, 0.48], (n, 2))
    x = np.clip(x, [-2.0, -1.25], [-0.5, 1.25])
    angle = np.linspace(-1.25, 1.25, n) + rng.normal(0, 0.03, n)
    y = np.stack([0.35 + np.cos(angle), 1.15 * np.sin(angle)], 1) + rng.normal(0, 0.06, (n, 2))
    return x, y


def panel(x, y, pairs, *, left: float, scale: float = 106, middle: float = 160) -> str:
    """Segments, then circles, then triangles, as SVG elements."""
    def place(p):
        return left + scale * (p[0] + 2.05), middle - scale * p[1]

    parts = []
    for i, j in enumerate(pairs):
        (x1, y1), (x2, y2) = place(x[i]), place(y[j])
        parts.append(f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}"/>')
    lines = f'<g stroke="{GREY}" stroke-width="1" opacity=".75">{"".join(parts)}</g>'
    dots = "".join('<circle cx="{:.0f}" cy="{:.0f}" r="4.6"/>'.format(*place(p)) for p in x)
    marks = ""
    for p in y:
        u, v = place(p)
        marks += f'<path d="M{u:.0f} {v - 5.6:.0f}l5.6 9.8h-11.2z"/>'
    return f'{lines}<g fill="{BLUE}">{dots}</g><g fill="{VERMILION}">{marks}</g>'


def hero() -> str:
    x, y = clouds(44, seed=3)
    best = linear_sum_assignment(((x[:, None] - y[None]) ** 2).sum(-1))[1]
    chance = np.random.default_rng(0).permutation(len(y))
    body = panel(x, y, chance, left=20) + panel(x, y, best, left=442)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 320" width="840" '
            f'height="320">{body}</svg>\n')


def logo(size: int = 64) -> str:
    left, right = [(13, 14), (8, 33), (15, 51)], [(48, 11), (55, 31), (49, 52)]
    lines = "".join(f'<path d="M{a} {b}L{c} {d}"/>'
                    for (a, b), (c, d) in zip(left, right, strict=True))
    dots = "".join(f'<circle cx="{a}" cy="{b}" r="6.2"/>' for a, b in left)
    marks = "".join(f'<path d="M{a} {b - 8}l7.4 13h-14.8z"/>' for a, b in right)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="{size}" '
            f'height="{size}"><g stroke="{GREY}" stroke-width="3">{lines}</g>'
            f'<g fill="{BLUE}">{dots}</g><g fill="{VERMILION}">{marks}</g></svg>\n')


if __name__ == "__main__":
    for name, text in (("hero.svg", hero()), ("logo.svg", logo()), ("favicon.svg", logo(32))):
        (STATIC / name).write_text(text)
        print(f"{name}: {len(text):,} bytes")
