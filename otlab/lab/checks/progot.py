"""Checks for exercises on entropic maps and progressive transport: properties, in NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped


def self_map_slope(answer: Callable) -> None:
    """answer(s, epsilon) → slope of the entropic map of N(0, s²) to itself, cost |x − y|².

    Compares with Sinkhorn on a fine grid, and demands that only ε / s² matters.
    """
    grid = np.linspace(-6, 6, 241)
    for epsilon in (0.2, 1.0, 6.0):
        b = np.exp(-0.5 * grid**2)
        K = np.exp(-((grid[:, None] - grid) ** 2) / epsilon) * (b / b.sum())
        v = np.ones(len(grid))
        for _ in range(2_000):  # symmetric problem: one potential, averaged in logarithms
            v = np.sqrt(v / (K @ v))
        P = K * v / (K @ v)[:, None]
        want = np.polyfit(grid[80:161], (P @ grid)[80:161], 1)[0]
        got = float(shaped(answer(1.0, epsilon), (), "one number for s and ε"))
        demand(np.isclose(got, want, atol=2e-3),
                f"at s = 1, ε = {epsilon} Sinkhorn's slope is {want:.4f}; yours is {got:.4f}. The "
                "plan is Gaussian, and its inverse covariance has −2/ε off the diagonal.")
        other = float(answer(3.0, 9 * epsilon))
        demand(np.isclose(got, other, atol=1e-3), f"three times the spread at nine times ε must "
                f"give the same slope; yours went from {got:.4f} to {other:.4f}.")
    print("self_map_slope: agrees with Sinkhorn; only ε / s² matters.")


def remaining_map(answer: Callable) -> None:
    """answer(A, b, alpha) → (A1, b1): what is left of T(x) = A x + b after a share alpha.

    Demands T1(S(x)) = T(x) for S = (1 − alpha) Id + alpha T, and that T1 is optimal itself: A1
    symmetric and positive.
    """
    rng = np.random.default_rng(0)
    for d, alpha in ((1, 0.5), (2, 0.125), (5, 0.9)):
        root = rng.normal(size=(d, d))
        A, b, x = root @ root.T + 0.2 * np.eye(d), 5 * rng.normal(size=d), rng.normal(size=(9, d))
        A1, b1 = answer(jnp.asarray(A), jnp.asarray(b), alpha)
        A1, b1 = shaped(A1, (d, d), "a matrix A1 first"), shaped(b1, (d,), "a vector b1 second")
        stop = (1 - alpha) * x + alpha * (x @ A.T + b)
        gap = np.abs(stop @ A1.T + b1 - (x @ A.T + b)).max()
        demand(gap < 1e-3 * (1 + np.abs(A1).max()), f"with d={d}, alpha={alpha} your map leads "
                f"from the stop to {gap:.3g} beside T(x). First undo S, then apply T.")
        demand(np.allclose(A1, A1.T, atol=1e-3) and np.linalg.eigvalsh(A1 + A1.T).min() > 0,
                f"with d={d} your A1 is not symmetric and positive, so it is no optimal map.")
    print("remaining_map: arrives where T does, and is optimal from every stop.")


def progress(answer: Callable) -> None:
    """answer(alphas) → (before, after): share of the way done before and after every step."""
    rng = np.random.default_rng(1)
    for alphas in (1 / np.arange(8, 0, -1), np.full(5, 0.25), rng.uniform(0.1, 0.9, 6)):
        k, wanted = len(alphas), 1 - np.cumprod(1 - alphas)
        before, after = (shaped(v, (k,), f"two arrays of shape ({k},)")
                         for v in answer(jnp.asarray(alphas)))
        demand(np.allclose(after, wanted, atol=1e-5), f"after the steps {np.round(alphas, 3)} the "
                f"shares are {np.round(wanted, 3)}; yours are {np.round(after, 3)}. Each step "
                "leaves 1 − alpha of what was left.")
        demand(np.allclose(before, [0, *wanted[:-1]], atol=1e-5),
                f"before the first step nothing is done; yours begins with {before[0]:.3f}.")
    print("progress: right before and after every step.")


def same_path(fitted, travelled) -> None:
    """fitted: clouds (K, n, d) that the solves saw. travelled: where the map takes x, (K, n, d)."""
    fitted, travelled = np.asarray(fitted, float), np.asarray(travelled, float)
    demand(fitted.shape == travelled.shape and fitted.ndim == 3,
            f"give two arrays (K, n, d); got {fitted.shape} and {travelled.shape}.")
    moved = np.abs(np.diff(fitted, axis=0)).max()
    demand(moved > 0, "the clouds of all the solves are the same: nothing moves.")
    gap = np.linalg.norm(fitted - travelled, axis=2).max(axis=1)
    k = int(gap.argmax())
    demand(gap[k] < 1e-3 * moved, f"at solve {k + 1} a point was fitted {gap[k]:.3g} from where "
            "the map takes it. Mix with the current cloud in both, never with the first one.")
    print(f"same_path: the map travels where it was fitted, {len(fitted)} times.")


def debiased(answer: Callable) -> None:
    """answer(E_xy, E_xx, z) → the debiased map at z (n, d), from two entropic maps.

    Demands that a cloud mapped to itself stays put, and that equal blur on both sides cancels.
    """
    z = np.random.default_rng(2).normal(size=(6, 3))
    shrink, shift = 0.4, np.array([5.0, 0, -1])
    cases = {"x = y, so nothing moves": (lambda u: shrink * u, z),
             "y = x + shift, so everything moves by the shift": (lambda u: shrink * u + shift,
                                                                  z + shift)}
    for name, (E_xy, want) in cases.items():
        got = shaped(answer(E_xy, lambda u: shrink * u, jnp.asarray(z)), z.shape, "moved points")
        demand(np.allclose(got, want, atol=1e-4), f"for {name}; yours is off by "
                f"{np.abs(got - want).max():.3g}. E_xx says how far the blur alone moves a point.")
    print("debiased: the blur cancels where both maps have it.")


def not_straight(answer: Callable) -> None:
    """answer(x, y) → a cost of numbers x and y whose halfway point is not (x + y) / 2.

    Demands a cost: zero on equal points, positive and symmetric otherwise.
    """
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.5, 3, size=(2, 40))
    c = lambda u, v: shaped(answer(jnp.asarray(u), jnp.asarray(v)), u.shape, "one cost a pair")  # noqa: E731
    demand(np.allclose(c(x, x), 0, atol=1e-6), "a point that stays must cost nothing.")
    demand((c(x, y) > 0).all() and np.allclose(c(x, y), c(y, x), rtol=1e-4),
            "let it be positive and symmetric, or halfway has no meaning here.")
    middle = (x + y) / 2
    gap = np.abs(c(x, middle) - c(middle, y)) / c(x, y)
    demand(gap.max() > 1e-2, "both halves of the straight way cost the same everywhere. A cost of "
            "x − y alone always does that.")
    print(f"not_straight: the halves of a straight way differ by up to {gap.max():.0%}.")
