"""Checks for exercises on plans and their blur: properties on random problems, in float64 NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar

from otlab.lab.checks.demand import demand, shaped


def _soft_min(z, log_w, epsilon, axis):
    """-epsilon log sum exp(log_w - z / epsilon) along an axis."""
    z = log_w - z / epsilon
    top = z.max(axis=axis, keepdims=True)
    return -epsilon * (np.log(np.exp(z - top).sum(axis=axis)) + top.squeeze(axis))


def _sinkhorn(C, a, b, epsilon, sweeps=5_000):
    """Potentials and plan of min <P, C> + epsilon KL(P | a b^T), dense, float64."""
    with np.errstate(divide="ignore"):
        log_a, log_b = np.log(a)[:, None], np.log(b)
    g = np.zeros(len(b))
    for _ in range(sweeps):
        f = _soft_min(C - g, log_b, epsilon, 1)
        new = _soft_min(C - f[:, None], log_a, epsilon, 0)
        done, g = np.abs(new - g).max() < 1e-11, new
        if done:
            break
    return f, g, a[:, None] * b * np.exp((f[:, None] + g - C) / epsilon)


def _cost(x, a, y, b, epsilon=1.0):
    """OT_epsilon between weighted clouds for |x - y|^2."""
    x, a, y, b = (np.asarray(v, float) for v in (x, a, y, b))
    f, g, _ = _sinkhorn(((x[:, None] - y) ** 2).sum(-1), a, b, epsilon)
    return float(a @ f + b @ g)


def two_points(answer: Callable) -> None:
    """answer(C, epsilon) → plan (2, 2) between two points and two points of equal weights.

    Demands nonnegative entries, marginals of one half, and the plan of a converged solver, for
    sharp and blurred ε and for costs of either preference.
    """
    rng, half = np.random.default_rng(0), np.full(2, 0.5)
    for epsilon in (0.05, 0.4, 3.0):
        for _ in range(4):
            C = rng.normal(size=(2, 2))
            P = shaped(answer(jnp.asarray(C), epsilon), (2, 2), "a plan of shape (2, 2)")
            demand((P >= -1e-7).all() and np.allclose([P.sum(0), P.sum(1)], 0.5, atol=1e-5),
                    f"rows and columns of a plan add up to one half; yours give {P.sum(1)} and "
                    f"{P.sum(0)}.")
            want = _sinkhorn(C, half, half, epsilon)[2]
            demand(np.allclose(P, want, atol=1e-4),
                    f"at ε={epsilon} the first entry is {want[0, 0]:.4f}; yours is {P[0, 0]:.4f}. "
                    "Potentials cancel in P11 P22 / (P12 P21), which leaves one equation.")
    print("two_points: a logistic function of the cost, right on twelve plans.")


def debiased(answer: Callable) -> None:
    """answer(cost, x, a, y, b) → a divergence from cost(x, a, y, b), an entropic cost.

    Demands zero between equal clouds, symmetry, positivity, and the value, with unequal weights
    and with points that have none.
    """
    rng = np.random.default_rng(1)
    for n, m, d in ((5, 7, 1), (8, 6, 2), (4, 4, 3)):
        x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
        a, b = rng.dirichlet(np.full(n, 2.0)), rng.dirichlet(np.full(m, 2.0))
        a[0], b[-1] = 0.0, 0.0
        a, b = a / a.sum(), b / b.sum()

        def got(*clouds):
            return float(shaped(answer(_cost, *clouds), (), "one number"))

        own = got(x, a, x, a)
        demand(abs(own) < 1e-5, f"a cloud is {own:.4f} from itself; it should be zero. Subtract "
                "what each cloud costs with itself, its own weights on both sides.")
        there, back = got(x, a, y, b), got(y, b, x, a)
        demand(np.isclose(there, back, atol=1e-5), "exchanging the clouds changes yours from "
                f"{there:.4f} to {back:.4f}: both self-terms are needed, each by a half.")
        want = _cost(x, a, y, b) - (_cost(x, a, x, a) + _cost(y, b, y, b)) / 2
        demand(np.isclose(there, want, atol=1e-4) and there > 0,
                f"two clouds are {want:.4f} apart; yours says {there:.4f}.")
    print("debiased: zero between equal clouds, positive and symmetric otherwise.")


def repaired(answer: Callable) -> None:
    """answer(P, a, b) → a coupling of a and b near P (n, m), a nonnegative table of mass one.

    Demands exact marginals, nonnegative entries, a distance of at most twice the errors of the
    marginals, and no change to a plan that is right already; some weights are zero.
    """
    rng = np.random.default_rng(2)
    for n, m in ((4, 6), (10, 3), (7, 7)):
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        a[0], b[1] = 0.0, 0.0
        a, b = a / a.sum(), b / b.sum()
        sharp = _sinkhorn(rng.random((n, m)), a, b, 0.02)[2]
        hasty = sharp * np.exp(0.3 * rng.normal(size=(n, m))) + 1e-3
        for P in (hasty / hasty.sum(), rng.dirichlet(np.ones(n * m)).reshape(n, m), sharp):
            Q = shaped(answer(jnp.asarray(P), jnp.asarray(a), jnp.asarray(b)), (n, m),
                       f"a plan of shape {(n, m)}")
            off = np.abs(Q.sum(1) - a).sum(), np.abs(Q.sum(0) - b).sum()
            demand(max(off) < 1e-5, f"your rows are off by {off[0]:.1e} and your columns by "
                    f"{off[1]:.1e}: what is missing on both sides has one total; share it out.")
            demand(Q.min() > -1e-6, f"your plan has an entry of {Q.min():.1e}: shrink before "
                    "you add, and only add.")
            errors = np.abs(P.sum(1) - a).sum() + np.abs(P.sum(0) - b).sum()
            far = np.abs(Q - P).sum()
            demand(far <= 2 * errors + 1e-5, f"yours is {far:.3f} away from P, whose marginals "
                    f"were off by {errors:.3f}; at most twice that is needed. Keep what was right.")
    print("repaired: exact marginals, nothing negative, and near to what was given.")


def contraction(answer: Callable) -> None:
    """answer(P) → factor of one more iteration on a small error of f, for a plan of any marginals.

    Compares with what a disturbed solver does, for unequal weights and n ≠ m.
    """
    rng = np.random.default_rng(3)
    for n, m, epsilon in ((6, 6, 0.3), (9, 5, 0.1), (5, 11, 1.0)):
        C, a = rng.random((n, m)), rng.dirichlet(np.full(n, 3.0))
        b = rng.dirichlet(np.full(m, 3.0))
        f, g, P = _sinkhorn(C, a, b, epsilon)
        got = float(shaped(answer(jnp.asarray(P)), (), "one number for a plan (n, m)"))
        error = 1e-3 * epsilon * rng.normal(size=n)
        for _ in range(400):  # the slowest direction is left
            last = error - error.mean()
            error = 1e-3 * epsilon * last / np.abs(last).max()
            start = np.ptp(error)
            h = _soft_min(C - (f + error)[:, None], np.log(a)[:, None], epsilon, 0)
            error = _soft_min(C - h, np.log(b), epsilon, 1) - f
        want = np.ptp(error) / start
        demand(abs(got - want) < 2e-3 + 1e-2 * want,
                f"for a plan ({n}, {m}) a sweep shrinks a small error by {want:.4f}; yours says "
                f"{got:.4f}. Scale rows and columns by the roots of their sums, and leave out the "
                "direction of constants.")
    print("contraction: as fast as a disturbed solver comes back.")


def fitted_variance(answer: Callable) -> None:
    """answer(t_squared, epsilon) → s² of the N(0, s²) with least OT_ε to N(0, t²), (x − y)².

    Compares with a numerical minimum of the closed form.
    """
    def value(s2, t2, epsilon):
        c = -epsilon / 4 + np.sqrt(epsilon**2 / 16 + s2 * t2)
        return s2 + t2 - 2 * c - epsilon / 2 * np.log1p(-(c**2) / (s2 * t2))

    for t2 in (0.5, 2.0, 9.0):
        for share in (0.05, 0.5, 1.2, 1.95, 2.5):
            epsilon = share * t2
            found = minimize_scalar(value, bounds=(1e-7 * t2, 2 * t2), args=(t2, epsilon),
                                    method="bounded", options={"xatol": 1e-9}).x
            got = float(shaped(answer(t2, epsilon), (), "one number"))
            demand(abs(got - found) < 5e-3 * t2,
                    f"for t² = {t2:g} and ε = {epsilon:g} the best variance is {found:.3f}; yours "
                    f"is {got:.3f}. At the minimum every source stands on its average target; how "
                    "wide is the plan around it, and can a variance be negative?")
    print("fitted_variance: least by the closed form, down to a single point.")
