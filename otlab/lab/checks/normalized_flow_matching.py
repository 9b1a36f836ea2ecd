"""Checks for exercises on flows and their codes: properties on random problems, in NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped


def _conditioner(rng, d: int):
    """A causal net (d,) → log-scales (d,) and shifts (d,), each reading earlier entries only."""
    A, B = (np.tril(rng.normal(size=(d, d)), -1) for _ in range(2))
    return lambda x: (0.5 * jnp.sin(jnp.asarray(A) @ x), jnp.tanh(jnp.asarray(B) @ x))


def inverse(answer: Callable) -> None:
    """answer(y, net) → x with y = (x − b) e^(−a), where (a, b) = net(x) and net is causal.

    Demands that the block and the answer undo each other, for several lengths.
    """
    rng = np.random.default_rng(0)
    for d in (2, 5, 9):
        net, x = _conditioner(rng, d), rng.normal(size=d)
        a, b = net(jnp.asarray(x))
        y = (x - np.asarray(b)) * np.exp(-np.asarray(a))
        got = shaped(answer(jnp.asarray(y), net), (d,), f"a point of shape ({d},)")
        wrong = np.flatnonzero(np.abs(got - x) > 1e-3)
        demand(len(wrong) == 0, f"with d={d} the first entry that is wrong is number "
                f"{wrong[0] if len(wrong) else 0}. Entry i needs a and b of the entries before "
                "it: find them in order, and ask net again each time.")
    print("inverse: undoes the block, an entry at a time, for d = 2, 5 and 9.")


def log_determinant(answer: Callable) -> None:
    """answer(x, net) → log|det| of the Jacobian of y = (x − b) e^(−a), (a, b) = net(x)."""
    import jax

    rng = np.random.default_rng(1)
    for d in (2, 4, 7):
        net, x = _conditioner(rng, d), jnp.asarray(rng.normal(size=d))

        def block(x, net=net):
            a, b = net(x)
            return (x - b) * jnp.exp(-a)

        want = float(np.linalg.slogdet(np.asarray(jax.jacfwd(block)(x), np.float64))[1])
        got = float(shaped(answer(x, net), (), "one number"))
        demand(np.isclose(got, want, atol=2e-3),
                f"with d={d} the log-determinant is {want:.3f}; yours is {got:.3f}. The Jacobian "
                "is triangular: only what stands on its diagonal counts.")
    print("log_determinant: that of the whole Jacobian, from its diagonal alone.")


def turned_displacement(answer: Callable) -> None:
    """answer(S, Q) → E|z − x|² for x of N(0, S) and the code z = Q S^(−1/2) x; (d, d) both."""
    rng = np.random.default_rng(2)
    for d in (1, 2, 5):
        G = rng.normal(size=(d, d))
        S = G @ G.T + 0.2 * np.eye(d)
        values, vectors = np.linalg.eigh(S)
        root = (vectors * np.sqrt(values)) @ vectors.T
        for Q in (np.eye(d), -np.eye(d), np.linalg.qr(rng.normal(size=(d, d)))[0]):
            want = np.trace(S) + d - 2 * np.trace(Q @ root)
            got = float(shaped(answer(jnp.asarray(S), jnp.asarray(Q)), (), "one number"))
            demand(np.isclose(got, want, rtol=2e-3, atol=2e-3),
                    f"with d={d} it is {want:.3f}; yours gives {got:.3f}. Expand the square: "
                    "E|z|² is d whatever Q is, and E<z, x> = tr(Q S^(1/2)).")
    print("turned_displacement: right for nine pairs of covariance and turn.")


def meeting_times(answer: Callable) -> None:
    """answer(A) → the times in (0, 1) at which pairs (z, x), z = A x, meet; A (d, d).

    At such a time x_t = ((1 − t) A + t I) x forgets part of x. In any order; each once.
    """
    rng = np.random.default_rng(3)
    for values in ((0.5, 2.0), (-1.0, 0.7), (-1.0, -3.0, 1.0), (-0.25, -0.5, -4.0)):
        V = rng.normal(size=(len(values), len(values)))
        A = V @ np.diag(values) @ np.linalg.inv(V)
        want = sorted(v / (v - 1) for v in values if v < 0)
        got = np.sort(shaped(answer(jnp.asarray(A)), (len(want),),
                             f"{len(want)} times for eigenvalues {values}"))
        demand(np.allclose(got, want, atol=2e-3),
                f"for eigenvalues {values} points meet at {np.round(want, 3).tolist()}; yours "
                f"says {np.round(got, 3).tolist()}. When is (1 − t) λ + t zero?")
    half = shaped(answer(jnp.asarray([[0.0, -1.0], [1.0, 0.0]])), (0,), "no time for a quarter "
                  "turn, whose eigenvalues are not real")
    demand(len(half) == 0, "a quarter turn has no real eigenvalue: its segments never meet.")
    print("meeting_times: one for each negative eigenvalue, none for a quarter turn.")
