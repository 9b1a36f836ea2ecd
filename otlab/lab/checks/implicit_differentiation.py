"""Checks for exercises on derivatives: finite differences in float64, and what must be invariant.

Each prints one line when the answer passes and raises AssertionError
with the property that fails. They solve small problems in plain NumPy, by another road.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped

STEP = 1e-5


def _plan(C, a, b, epsilon, sweeps=3_000):
    """The entropic plan of weights a (n,), b (m,) for the cost C (n, m), in float64."""
    K = np.exp(-(C - C.min()) / epsilon)
    v = np.ones(len(b))
    for _ in range(sweeps):
        u = a / (K @ v)
        v = b / (K.T @ u)
    return u[:, None] * K * v


def _problems():
    """(C, a, b, epsilon) for a few sizes, with unequal weights."""
    rng = np.random.default_rng(0)
    for n, m, epsilon in ((4, 6, 0.5), (7, 5, 1.0)):
        a, b = rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(m, 3.0))
        yield rng.random((n, m)) * 2, a, b, epsilon


def weight_gradients(answer: Callable) -> None:
    """answer(P, w, epsilon) → gradients (n,), (m,) of <w, P> in the weights, from the plan.

    The cost and epsilon stay; a moves along directions that keep its sum, and so does b. Any
    constant added to either gradient is welcome.
    """
    rng = np.random.default_rng(1)
    for C, a, b, epsilon in _problems():
        w, P = rng.normal(size=C.shape), _plan(C, a, b, epsilon)
        given = answer(jnp.asarray(P), jnp.asarray(w), epsilon)
        demand(isinstance(given, (tuple, list)) and len(given) == 2,
                "return two gradients: one in a (n,), one in b (m,).")
        for name, got, weights in zip("ab", given, (a, b), strict=True):
            got = shaped(got, weights.shape, f"the gradient in {name}, {weights.shape}")
            along = rng.normal(size=len(weights))
            along -= along.mean()
            moved = [(a + s * along, b) if name == "a" else (a, b + s * along)
                     for s in (STEP, -STEP)]
            up, down = (np.sum(w * _plan(C, *pair, epsilon)) for pair in moved)
            want = (up - down) / (2 * STEP)
            demand(np.isclose(got @ along, want, rtol=1e-2, atol=1e-3),
                    f"along a direction of {name} the loss changes by {want:.4f} a unit; yours "
                    f"says {got @ along:.4f}. Which right-hand side do da and db put on the "
                    "system, and does P = exp((f + g − C)/ε) hold the weights itself?")
    print("weight_gradients: both agree with finite differences.")


def epsilon_response(answer: Callable) -> None:
    """answer(P, a, b, C, epsilon) → dP / d epsilon, shape (n, m)."""
    for C, a, b, epsilon in _problems():
        P = _plan(C, a, b, epsilon)
        arrays = (jnp.asarray(v) for v in (P, a, b, C))
        got = shaped(answer(*arrays, epsilon), P.shape, f"a table {P.shape}")
        size = np.abs(got).max()
        for axis, name in ((1, "rows"), (0, "columns")):
            demand(np.abs(got.sum(axis)).max() < 1e-3 * size + 1e-6,
                    f"the {name} of dP/dε sum to up to {np.abs(got.sum(axis)).max():.1e}: the "
                    "marginals do not move, so every row and column must sum to zero.")
        want = (_plan(C, a, b, epsilon + STEP) - _plan(C, a, b, epsilon - STEP)) / (2 * STEP)
        gap = np.abs(got - want).max()
        demand(gap < 1e-2 * np.abs(want).max(),
                f"it is off by {gap:.1e} where the largest entry is {np.abs(want).max():.1e}. "
                "At fixed potentials dP/dε = −P log(P)/ε when P = exp((f + g − C)/ε).")
    print("epsilon_response: agrees with finite differences, and keeps both marginals.")


def sinkhorn_rate(answer: Callable) -> None:
    """answer(P) → the factor by which one sweep of Sinkhorn shrinks the error, near the end."""
    for C, a, b, epsilon in _problems():
        P = _plan(C, a, b, epsilon)
        K, v, path = np.exp(-C / epsilon), np.ones(len(b)), []
        for _ in range(200):
            v = b / (K.T @ (a / (K @ v)))
            path.append(np.log(v))
        gaps = [gap for gap in np.std(np.array(path) - path[-1], axis=1) if gap > 1e-9]
        want = gaps[-1] / gaps[-2]
        got = float(shaped(answer(jnp.asarray(P)), (), "one number for a plan (n, m)"))
        demand(np.isclose(got, want, rtol=2e-2),
                f"a sweep shrinks the error to {want:.4f} of it; yours says {got:.4f}. One sweep "
                "is two half-steps, each of which multiplies by the normalised plan once.")
    print("sinkhorn_rate: as measured on the iteration itself.")


def ridge_hypergradient(answer: Callable) -> None:
    """answer(A, t, A_val, t_val, penalty) → d/d penalty of the validation loss, one number.

    z minimises |A z − t|² / 2 + penalty |z|² / 2, and the loss is |A_val z − t_val|² / 2.
    """
    rng = np.random.default_rng(2)
    for n, d, penalty in ((30, 6, 0.3), (12, 20, 2.0)):
        A, B = rng.normal(size=(n, d)), rng.normal(size=(10, d))
        t, s = A[:, 0] + 0.3 * rng.normal(size=n), B[:, 0]

        def loss(p, A=A, B=B, t=t, s=s, d=d):
            z = np.linalg.solve(A.T @ A + p * np.eye(d), A.T @ t)
            return np.sum((B @ z - s) ** 2) / 2

        want = (loss(penalty + STEP) - loss(penalty - STEP)) / (2 * STEP)
        arrays = (jnp.asarray(v) for v in (A, t, B, s))
        got = float(shaped(answer(*arrays, penalty), (), "one number"))
        demand(np.isclose(got, want, rtol=2e-2, atol=1e-3),
                f"with {n} rows and {d} columns the slope is {want:.4f}; yours gives {got:.4f}. "
                "The optimality condition is Aᵀ(A z − t) + penalty · z = 0.")
    print("ridge_hypergradient: agrees with finite differences, tall and wide.")
