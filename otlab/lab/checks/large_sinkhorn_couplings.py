"""Checks for exercises on large couplings: properties of the answer on random problems."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped


def _couplings():
    """Plans P (n, m) of several sizes with unequal weights, named."""
    rng = np.random.default_rng(0)
    for n, m in ((6, 9), (40, 25), (64, 64)):
        a, b = rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(m, 3.0))
        P = rng.dirichlet(np.full(n * m, 0.1)).reshape(n, m)
        yield f"a permutation of {n} unequal weights", np.diag(a)[:, rng.permutation(n)]
        yield f"the independent coupling of {n} and {m} points", np.outer(a, b)
        yield f"a random coupling of {n} and {m} points", P


def sharpness(answer: Callable) -> None:
    """answer(P) → 2 H(P) / (H(a) + H(b)) − 1 for P (n, m) whose marginals a, b are unequal."""
    def H(p):
        return -np.sum(p[p > 0] * np.log(p[p > 0]))

    for name, P in _couplings():
        want = 2 * H(P) / (H(P.sum(1)) + H(P.sum(0))) - 1
        got = float(shaped(answer(jnp.asarray(P)), (), "one number for a plan (n, m)"))
        demand(np.isclose(got, want, atol=2e-3),
                f"on {name} the sharpness is {want:.3f}; yours gives {got:.3f}. The weights are "
                "the sums of P's rows and columns, and zero entries contribute nothing.")
    print("sharpness: 0 on permutations, 1 on independent couplings, right in between.")


def std_of_squared_distance(answer: Callable) -> None:
    """answer(x, y) → std over all pairs of |x_i − y_j|², both clouds centred first, in O(n d²).

    Compares with the full table for several n, m and d, and demands invariance to translation
    and the right power of the scale.
    """
    rng = np.random.default_rng(0)
    for n, m, d in ((30, 30, 1), (60, 80, 5), (400, 150, 12)):
        x, y = rng.normal(size=(n, d)) ** 3, 2 * rng.normal(size=(m, d)) + 1
        x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
        u, v = np.asarray(x - x.mean(0), float), np.asarray(y - y.mean(0), float)
        want = ((u**2).sum(1)[:, None] + (v**2).sum(1) - 2 * u @ v.T).std()
        got = float(shaped(answer(x, y), (), "one number for clouds (n, d) and (m, d)"))
        demand(np.isclose(got, want, rtol=2e-3),
                f"with n={n}, m={m}, d={d} the std is {want:.4f}; yours gives {got:.4f}. Three "
                "terms vary: both squared norms and the product; which covariances are zero?")
        moved = float(answer(x + 3, y - 7))
        demand(np.isclose(got, moved, rtol=2e-2),
                f"moving both clouds changed it from {got:.4f} to {moved:.4f}: centre first.")
        scaled = float(answer(2 * x, 2 * y))
        demand(np.isclose(4 * got, scaled, rtol=2e-3),
                f"doubling both clouds should give four times as much: {got:.4f}, {scaled:.4f}.")
    print("std_of_squared_distance: agrees with the full table, and ignores translations.")


def lost_shares(answer: Callable) -> None:
    """answer(P) → expected shares (of noise, of data) lost when each row draws one partner.

    P (n, m), any weights. Compares with draws, for several sizes.
    """
    rng, draws = np.random.default_rng(1), 400
    for name, P in _couplings():
        got = shaped(answer(jnp.asarray(P)), (2,), "two numbers: lost noise, lost data")
        steps = np.cumsum(P / P.sum(1, keepdims=True), axis=1)
        u = rng.random((draws, len(P), 1))
        j = np.minimum((steps < u).sum(-1), P.shape[1] - 1)
        lost = np.array([1 - len(np.unique(row)) / P.shape[1] for row in j])
        demand(got[0] == 0, f"each row draws exactly once, so no noise is lost; yours says "
                f"{got[0]:.3f}.")
        demand(abs(got[1] - lost.mean()) < 5 * lost.std() / np.sqrt(draws) + 1e-3,
                f"on {name}, {draws} draws lose {lost.mean():.3f} of the data; yours says "
                f"{got[1]:.3f}. A datum is lost when every row misses it.")
    print("lost_shares: no noise, and as many data as row-by-row draws leave out.")


def power_law(exponent: float, x, y, *, tolerance: float = 0.15) -> None:
    """exponent p of y ∝ x^(−p), against a least-squares fit of log y on log x."""
    slope = -float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])
    demand(abs(exponent - slope) < tolerance,
            f"the fitted exponent is {slope:.2f} and yours is {exponent:.2f}. Fit log K on log ε "
            "with a straight line and change the sign.")
    print(f"power_law: exponent {exponent:.2f}, fit {slope:.2f}.")


def within_flops(n: float, epsilon: float, *, d: int, limit: float, pairs: float,
                 iterations: Callable[[float], float], least_n: float,
                 largest_epsilon: float) -> None:
    """A choice (n, ε) whose Sinkhorn cost for `pairs` pairs stays below `limit` FLOP.

    The cost of a batch is K(ε) n² (4 d + 10), of which pairs / n are needed. least_n,
    largest_epsilon: what the coupling must at least be.
    """
    demand(n >= least_n and epsilon <= largest_epsilon,
            f"n = {n:.0f}, ε = {epsilon:g}: the exercise wants n ≥ {least_n:.0f} and "
            f"ε ≤ {largest_epsilon:g}.")
    total = iterations(epsilon) * n * (4 * d + 10) * pairs
    demand(total <= limit, f"n = {n:.0f}, ε = {epsilon:g} costs {total:.2e} FLOP for "
            f"{pairs:.0e} pairs, over the limit {limit:.0e}: take a smaller n, or a larger ε.")
    print(f"within_flops: {total:.2e} of {limit:.0e} FLOP.")
