"""Checks for exercises: each tests properties of the reader's answer, not one solution.

A check prints one line when the answer passes, and raises AssertionError with the property
that fails, the numbers, and where to look. They are named after what they check.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def _demand(condition, sentence: str):
    if not bool(condition):
        raise AssertionError(sentence)


def std_of_cost(answer: Callable) -> None:
    """answer(x, y) → std of the centred dot-product cost, from x (n, d), y (m, d), in O(n d²).

    Compares with the full table on random clouds, and demands invariance to translation and
    proportionality to the scale of either cloud.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(80, 5)) * 2 + 1
    x, y = x.astype(np.float32), y.astype(np.float32)
    table = (x - x.mean(0)) @ (y - y.mean(0)).T
    got = float(answer(jnp.asarray(x), jnp.asarray(y)))
    _demand(np.isclose(got, table.std(), rtol=1e-3),
            f"std(C) should be {table.std():.4f} on the test clouds; yours gives {got:.4f}. "
            "Did you centre both clouds, and divide each second moment by its own n?")
    moved = float(answer(jnp.asarray(x + 3), jnp.asarray(y - 7)))
    _demand(np.isclose(got, moved, rtol=1e-2),
            f"moving both clouds changed std(C) from {got:.4f} to {moved:.4f}: "
            "a translation only adds rank-one terms, which centring removes.")
    scaled = float(answer(jnp.asarray(2 * x), jnp.asarray(y)))
    _demand(np.isclose(2 * got, scaled, rtol=1e-3),
            f"doubling x should double std(C): {got:.4f} became {scaled:.4f}.")
    print("std_of_cost: agrees with the full table, and is invariant to translation.")


def sharpness(answer: Callable) -> None:
    """answer(P) → renormalised entropy in [0, 1] of a uniform coupling P, shape (n, n)."""
    n = 40
    cases = {"a permutation": (jnp.eye(n)[::-1] / n, 0.0),
             "the independent coupling": (jnp.full((n, n), 1 / n**2), 1.0),
             "blocks of five": (jnp.kron(jnp.eye(8), jnp.ones((5, 5))) / (5 * n),
                                float(np.log(5) / np.log(n)))}
    for name, (P, want) in cases.items():
        got = float(answer(P))
        _demand(np.isclose(got, want, atol=2e-3),
                f"on {name} the sharpness is {want:.3f}; yours gives {got:.3f}. "
                "Zero entries contribute nothing: x log x → 0.")
    print("sharpness: 0 on a permutation, 1 on the independent coupling, right in between.")


def stratified_pairs(answer: Callable) -> None:
    """answer(key, P) → partners j, shape (n,): one per row of P, drawn from that row.

    Demands that row i is paired with column j with frequency n P_ij, and that rows are drawn
    independently of one another.
    """
    n, draws = 6, 4000
    P = jax.nn.softmax(2 * jax.random.normal(jax.random.key(1), (n, n)), axis=1) / n
    keys = jax.random.split(jax.random.key(2), draws)
    j = np.asarray(jax.jit(jax.vmap(lambda k: answer(k, P)))(keys))
    _demand(j.shape == (draws, n), f"one partner per row: wanted {n} of them, got {j.shape[1:]}.")
    share = np.stack([np.bincount(j[:, i], minlength=n) / draws for i in range(n)])
    gap = np.abs(share - n * np.asarray(P)).max()
    _demand(gap < 5 * 0.5 / np.sqrt(draws),
            f"row frequencies are off by {gap:.3f}: draw row i from P[i] / P[i].sum().")
    hot = np.eye(n)[j].reshape(draws, n * n)  # (draws, row and column)
    together = (hot.T @ hot / draws - np.outer(share, share)).reshape(n, n, n, n)
    together[np.arange(n), :, np.arange(n)] = 0  # a row always goes with itself
    _demand(np.abs(together).max() < 5 * 0.5 / np.sqrt(draws),
            "rows move together: give every row its own randomness.")
    print("stratified_pairs: every source point once, partners drawn from their own rows.")


def power_law(exponent: float, x, y, *, tolerance: float = 0.15) -> None:
    """exponent p of y ∝ x^(−p), against a least-squares fit of log y on log x."""
    slope = -float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])
    _demand(abs(exponent - slope) < tolerance,
            f"the fitted exponent is {slope:.2f} and yours is {exponent:.2f}. Fit log K on log ε "
            "with a straight line and change the sign.")
    print(f"power_law: exponent {exponent:.2f}, fit {slope:.2f}.")


def missing_share(answer: Callable) -> None:
    """answer(key, n) → share of points lost when n pairs are drawn, with replacement, from the
    flattened table of a permutation coupling of n points."""
    n = 2000
    got = float(np.mean([float(answer(jax.random.key(s), n)) for s in range(5)]))
    _demand(abs(got - np.exp(-1)) < 0.02,
            f"each of n draws misses a given pair with probability 1 − 1/n, so about "
            f"{np.exp(-1):.3f} of the points are lost; yours gives {got:.3f}.")
    print(f"missing_share: {got:.3f} of the points never appear (1/e = {np.exp(-1):.3f}).")


def within_flops(n: float, epsilon: float, *, d: int, limit: float, pairs: float,
                 iterations: Callable[[float], float], least_n: float = 0) -> None:
    """A choice (n, ε) whose Sinkhorn cost for `pairs` pairs stays below `limit` FLOP.

    The cost of a batch is K(ε) n² (4 d + 10), of which pairs / n are needed.
    """
    _demand(n >= least_n, f"n = {n:.0f} wastes the budget: at this ε you can afford {least_n:.0f}.")
    total = iterations(epsilon) * n * (4 * d + 10) * pairs
    _demand(total <= limit, f"n = {n:.0f}, ε = {epsilon:g} costs {total:.2e} FLOP for "
            f"{pairs:.0e} pairs, over the limit {limit:.0e}: halve n, or double ε.")
    print(f"within_flops: {total:.2e} of {limit:.0e} FLOP.")
