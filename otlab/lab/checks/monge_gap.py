"""Checks for exercises on maps and their gap: properties on random problems, in float64 NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from otlab.lab.checks.demand import demand, shaped


def _plans():
    """Cost matrices C (n, n) with couplings P (n, n) of equal weights, from sharp to blurred."""
    rng = np.random.default_rng(0)
    for n, sharp in ((5, 30.0), (12, 3.0), (12, 0.3)):
        C = rng.random((n, n)) * 3
        P = np.exp(-sharp * C)
        for _ in range(2_000):
            P /= n * P.sum(1, keepdims=True)
            P /= n * P.sum(0, keepdims=True)
        yield C, P
        yield C, np.eye(n) / n


def excess(answer: Callable) -> None:
    """answer(C, P, epsilon) → excess gap of the map that sends x_i to the i-th target.

    C (n, n) holds c(x_i, T x_k), P is the entropic plan at epsilon. Demands the value, zero on
    the map's own pairing, and that a constant added to every cost changes nothing.
    """
    for C, P in _plans():
        n, epsilon = len(C), 0.3
        logs = np.log(np.where(P > 0, P, 1))
        want = np.trace(C) / n - np.sum(P * C) - epsilon * np.sum(P * logs) - epsilon * np.log(n)
        given = [float(shaped(answer(jnp.asarray(C + shift), jnp.asarray(P), epsilon), (),
                              "one number for matrices C and P (n, n)")) for shift in (0, 5)]
        demand(np.isclose(given[0], want, atol=2e-4),
                f"with n={n} the excess is {want:.4f}; yours gives {given[0]:.4f}. It is what the "
                "map spends, minus <P, C> − ε H(P), minus ε log n; and 0 log 0 = 0.")
        demand(np.isclose(*given, atol=2e-3), "adding 5 to every cost changed it from "
                f"{given[0]:.4f} to {given[1]:.4f}: every coupling pays that 5 too.")
    print("excess: right on six plans, and zero when the plan is the map's own pairing.")


def rotation_gap(answer: Callable) -> None:
    """answer(S, theta) → exact Monge gap of the rotation by theta of N(0, S), S (2, 2).

    For the squared distance and epsilon = 0.
    """
    rng = np.random.default_rng(1)

    def root(M):
        values, vectors = np.linalg.eigh(M)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    for theta in (0.0, 0.4, np.pi / 2, 2.5, np.pi):
        G = rng.normal(size=(2, 2))
        for S in (G @ G.T + 0.1 * np.eye(2), 1.7 * np.eye(2)):
            R = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
            half = root(S)
            bures = 2 * np.trace(S) - 2 * np.trace(root(half @ R @ S @ R.T @ half))
            want = 2 * (1 - np.cos(theta)) * np.trace(S) - bures
            got = float(shaped(answer(jnp.asarray(S), theta), (), "one number"))
            demand(np.isclose(got, want, atol=2e-3),
                    f"for S = {np.round(S, 2).tolist()} and {np.degrees(theta):.0f}° the gap is "
                    f"{want:.3f}; yours gives {got:.3f}. Spending is E|x − Rx|²; what is needed "
                    "is the Bures cost between S and R S Rᵀ, zero when they are equal.")
    print("rotation_gap: spending less the Bures cost, for ten covariances and angles.")


def gap_gradient(answer: Callable) -> None:
    """answer(x, Tx, P) → gradient (n, d) in Tx of the gap, for |x − y|² and equal weights.

    P (n, n) is the optimal plan between x and Tx, held fixed. Compares with differences.
    """
    rng = np.random.default_rng(2)
    for (_, P), d in zip(_plans(), (1, 1, 3, 3, 3, 3), strict=True):
        n = len(P)
        x, Tx, v = rng.normal(size=(3, n, d))

        def gap(Tx, x=x, P=P):
            C = ((x[:, None] - Tx) ** 2).sum(-1)
            return np.trace(C) / len(C) - np.sum(P * C)

        want = (gap(Tx + 1e-5 * v) - gap(Tx - 1e-5 * v)) / 2e-5
        grad = shaped(answer(jnp.asarray(x), jnp.asarray(Tx), jnp.asarray(P)), (n, d),
                      f"one gradient a point, {(n, d)}")
        demand(np.isclose(np.sum(grad * v), want, atol=2e-3 * n),
                f"with n={n}, d={d} the gap changes by {want:.4f} along a direction; yours says "
                f"{np.sum(grad * v):.4f}. Move mass by the map's own pairing, minus the plan's.")
    print("gap_gradient: own pairing minus optimal pairing; agrees with differences.")


def wasted_fraction(answer: Callable) -> None:
    """answer(points, rotation) → excess gap over spending, for squared angles on the sphere.

    points (n, 3) are unit vectors, rotation (3, 3) turns them. Compares with the exact assignment:
    most is waste for points all over the globe, next to nothing for a small cap.
    """
    rng = np.random.default_rng(3)
    c, s = np.cos(0.6), np.sin(0.6)
    rotation = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    for place, spread in (("all over the globe", None), ("in a small cap", 0.2)):
        p = rng.normal(size=(160, 3))
        p = p if spread is None else np.array([0, 0, 1.0]) + spread * p
        p /= np.linalg.norm(p, axis=1, keepdims=True)
        C = np.arccos(np.clip(p @ (p @ rotation.T).T, -1, 1)) ** 2
        spent, needed = np.trace(C), C[linear_sum_assignment(C)].sum()
        want = (spent - needed) / spent
        got = float(shaped(answer(jnp.asarray(p, float), jnp.asarray(rotation, float)), (),
                           "one number"))
        demand(abs(got - want) < 0.05,
                f"for points {place} {want:.2f} of the spending is waste; yours says {got:.2f}. "
                "It is (gap − ε log n) / spent, for the squared angle and a small ε.")
    print("wasted_fraction: right for the whole globe, and for a small cap.")


def debiased_gap(answer: Callable) -> None:
    """answer(x, Tx, epsilon) → a gap for |x − y|² that no blur moves from zero.

    Demands zero for the identity and for a shift at every epsilon, and at a fine one the exact
    gap of a quarter turn.
    """
    rng = np.random.default_rng(4)
    x = rng.normal(size=(64, 2))
    shift, turn = np.array([1.5, -0.5]), np.array([[0.0, -1.0], [1.0, 0.0]])

    def of(Tx, epsilon):
        given = answer(jnp.asarray(x, float), jnp.asarray(Tx, float), epsilon)
        return float(shaped(given, (), "one number"))

    for epsilon in (0.1, 1.0, 10.0):
        for name, Tx in (("the identity", x), ("a shift", x + shift)):
            got = of(Tx, epsilon)
            demand(abs(got) < 0.03, f"at epsilon={epsilon:g} {name} has the gap {got:.3f}; it "
                   "wastes nothing, so it must have none. What does the entropic cost of a cloud "
                   "with itself come to?")
    C = ((x[:, None] - x @ turn.T) ** 2).sum(-1)
    want = (np.trace(C) - C[linear_sum_assignment(C)].sum()) / len(x)
    got = of(x @ turn.T, 0.02)
    demand(abs(got - want) < 0.1 * want, f"at a fine epsilon a quarter turn has the gap "
           f"{want:.2f}; yours gives {got:.2f}.")
    print("debiased_gap: zero for identity and shift at every epsilon; a turn keeps its price.")
