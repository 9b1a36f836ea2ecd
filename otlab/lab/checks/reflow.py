"""Checks for exercises on rectified flow: properties, in NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped


def gaussian_balance(answer: Callable) -> None:
    """answer(s) → (crossing V, straightness S) of independent N(0, 1) and N(0, s²) on the line.

    Compares with numerical integrals of the conditional variance and along the exact paths.
    """
    t = (np.arange(20_000) + 0.5) / 20_000
    for s in (0.3, 1.0, 2.5):
        spread = (1 - t) ** 2 + (t * s) ** 2
        V = np.mean(1 + s**2 - (t * s**2 - (1 - t)) ** 2 / spread)
        path_speed = (t * s**2 - (1 - t)) / np.sqrt(spread)       # of the path that starts at 1
        S = np.mean(path_speed**2) - (s - 1) ** 2
        got = answer(s)
        demand(len(got) == 2, f"two numbers are wanted, V and S; yours has {len(got)}.")
        for name, mine, want in zip(("V", "S"), got, (V, S), strict=True):
            value = float(shaped(mine, (), f"{name}, one number"))
            demand(np.isclose(value, want, rtol=1e-3), f"at s = {s} {name} is {want:.4f}; yours "
                    f"is {value:.4f}. V integrates Var(x1 − x0 | x_t); S is what the identity "
                    "leaves, and (s − 1)² is E|z1 − z0|².")
    print("gaussian_balance: V and S agree with numerical integrals.")


def straight_pairs(answer: Callable) -> None:
    """answer(x0, x1) → x1 (n,) in another order, so that no two segments of the line cross."""
    rng = np.random.default_rng(0)
    for n in (2, 7, 40):
        x0, x1 = rng.normal(size=n), rng.normal(size=n) * 2 + 1
        got = shaped(answer(jnp.asarray(x0), jnp.asarray(x1)), (n,), "the partners of x0")
        demand(np.allclose(np.sort(got), np.sort(x1), atol=1e-5),
                "every x1 is to be used exactly once; yours are other numbers.")
        i, j = np.triu_indices(n, 1)
        met = (x0[i] - x0[j]) * (got[i] - got[j]) < 0
        demand(not met.any(), f"{met.sum()} of {len(met)} pairs of segments still cross: one "
                "starts above the other and ends below it.")
    print("straight_pairs: every point used once, and no two segments cross.")


def time_law(answer: Callable) -> None:
    """answer(u, base) → times (n,) in [0, 1] of density proportional to base^(1 − t)."""
    u = (np.arange(4_000) + 0.5) / 4_000
    for base in (1.0, 2.0, 10.0, 100.0):
        got = shaped(answer(jnp.asarray(u), base), (4_000,), "one time for each u")
        demand(np.isfinite(got).all(), f"at base {base:g} some times are not finite; take the "
                "limit where log(base) is 0.")
        t = np.sort(got)
        demand(t[0] >= -1e-6 and t[-1] <= 1 + 1e-6, "times lie between 0 and 1; yours reach "
                f"from {t[0]:.3f} to {t[-1]:.3f}.")
        mass = t if base == 1 else (1 - base ** -t) / (1 - 1 / base)
        gap = np.abs(mass - u).max()
        demand(gap < 2e-3, f"at base {base:g} the share of times below t is off by up to "
                f"{gap:.3f}. Invert the integral of base^(1 − t); noise is at t = 0.")
    print("time_law: the right law for every base, and the uniform one at base 1.")


def scale_free(answer: Callable) -> None:
    """answer(gaps) → weights (n,) for squared gaps of rows (n, d), with no floor.

    Demands that scaling all gaps scales neither the loss nor its direction, row by row.
    """
    rng = np.random.default_rng(1)
    gaps = rng.normal(size=(12, 3)) * rng.uniform(0.01, 10, size=(12, 1))
    rows = (gaps**2).sum(1)
    loss = [shaped(answer(jnp.asarray(gaps * k)), (12,), "one weight for each row") * rows * k**2
            for k in (1.0, 50.0)]
    demand(np.allclose(loss[0], loss[1], rtol=1e-3), "gaps fifty times as large must give the "
            "same weighted squares; yours change.")
    demand(np.allclose(loss[0], loss[0][0], rtol=1e-3), "every row must count alike, whatever "
            "the size of its gap.")
    gaps = jnp.asarray(gaps, jnp.float32)
    slope = jax.grad(lambda g: jnp.sum(answer(g) * jnp.sum(g**2, 1)))(gaps)
    demand(np.abs(slope).max() > 1e-3, "the loss has no gradient: the weight cancels the square. "
            "Stop the gradient of the weight: jax.lax.stop_gradient.")
    print("scale_free: all rows count alike at any scale, and the gradient survives.")


def blurred_noise(answer: Callable) -> None:
    """answer(x0, fresh, beta) → noise (n,), standard normal, with correlation √(1 − β²) to x0."""
    rng = np.random.default_rng(2)
    x0, fresh = rng.normal(size=(2, 100_000))
    for beta in (0.0, 0.3, 0.8, 1.0):
        got = shaped(answer(jnp.asarray(x0), jnp.asarray(fresh), beta), x0.shape, "noise like x0")
        demand(abs(got.std() - 1) < 0.02 and abs(got.mean()) < 0.02, f"at β = {beta} the noise "
                f"has mean {got.mean():.2f} and deviation {got.std():.2f}; it must stay N(0, 1).")
        want, is_ = np.sqrt(1 - beta**2), np.mean(got * x0)
        demand(abs(is_ - want) < 0.02, f"at β = {beta} its correlation with x0 is {is_:.2f}; "
                f"the notes have √(1 − β²) = {want:.2f}.")
    print("blurred_noise: normal at every β, with the right memory of x0.")


def whitened(answer: Callable) -> None:
    """answer(x) → points (n, d) with mean 0 and covariance I, moved no farther than needed."""
    rng = np.random.default_rng(3)
    for d in (2, 5):
        x = rng.normal(size=(400, d)) @ rng.normal(size=(d, d)) + 1
        got = shaped(answer(jnp.asarray(x, jnp.float32)), x.shape, "as many points")
        demand(np.allclose(got.mean(0), 0, atol=1e-3), "the mean is not 0.")
        demand(np.allclose(got.T @ got / len(got), np.eye(d), atol=1e-2), "the covariance is "
                "not I; divide by n, not n − 1.")
        centred = x - x.mean(0)
        values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
        least = ((centred @ (vectors / np.sqrt(values)) @ vectors.T - x) ** 2).sum()
        spent = ((got - x) ** 2).sum()
        demand(spent < least * 1.01 + 1e-3, f"the points moved {spent / least:.2f} times as far "
                "as needed: rotate back. The root of the inverse covariance should be symmetric.")
    print("whitened: no mean, covariance I, and the shortest way there.")
