"""Sinkhorn iterations on a table in the log domain, and on a stored, stabilised kernel.

Both return scaled potentials p = f / epsilon, q = g / epsilon with exact columns. The first
computes exponentials in every sweep and needs no (n, m) array when told to stream. The second
stores K = exp((f + g - C) / epsilon) once, then sweeps are two matrix-vector products, and
potentials that have moved far are absorbed into a new K.

A table is a `Table`, traced, or one of `host.tables`; what follows is one text for both.

Source: Schmitzer (2019), Stabilized sparse scaling algorithms, for the absorption.
"""

from otlab.couplings.entropic_ot.engine import anderson
from otlab.couplings.entropic_ot.engine.anderson import Point
from otlab.couplings.entropic_ot.engine.host.numbers import (
    choose,
    cond,
    matmul,
    module_of,
    while_loop,
)

FAR = 30.0  # absorb potentials that have moved by this many epsilon
CLIP = 50.0  # and let no move go farther: exp(50) times a kernel's entries still fits float32
FOUR = 4.0  # ratio of successive epsilons on the way down
LEVEL = 2  # sweeps at each


def log_rows(table, a, b, epsilon):
    """rows(p, q): columns made exact from a guess q, then the row marginals at p."""
    xp = module_of(a)
    log_a, log_b = epsilon * xp.log(a), epsilon * xp.log(b)  # in units of C; -inf is welcome

    def rows(p, q):
        columns = table.sums(epsilon * q, epsilon * p + log_a, epsilon, 0)
        q = q - xp.where(b > 0, columns, 0)
        return _point(a, p, q, -table.sums(epsilon * p, epsilon * q + log_b, epsilon, 1))

    return rows


def _point(a, p, q, r):
    xp = module_of(r)
    r = xp.where(a > 0, r, 0)  # points without mass wait for `complete`
    finite = xp.isfinite(xp.sum(r) + xp.sum(q))  # one infinite or NaN makes the sums so
    error = matmul(a, xp.abs(xp.expm1(-r)))
    return Point(p, q, r, choose(finite, error, xp.full_like(error, xp.inf)))


def complete(table, a, b, epsilon, p, q):
    """(p, q) with soft c-transforms for points of weight zero, which no iteration moves."""
    xp = module_of(p)

    def all_points(p, q):
        f = -table.sums(xp.zeros_like(p), epsilon * (q + xp.log(b)), epsilon, 1, True)
        g = -table.sums(xp.zeros_like(q), epsilon * (p + xp.log(a)), epsilon, 0, True)
        return xp.where(a > 0, p, f), xp.where(b > 0, q, g)

    without_mass = xp.any(a == 0) | xp.any(b == 0)
    return cond(without_mass, all_points, lambda p, q: (p, q), p, q)


def log_domain(rows, p, q, a, tol, max_steps, *, accelerate=True) -> anderson.State:
    """Iterate `rows` from (p, q) until its error is at most tol."""

    def unfinished(state):
        return ~(state.now.error <= tol) & (state.steps < max_steps)

    first = anderson.start(rows(p, q))
    return while_loop(unfinished, lambda s: anderson.step(s, rows, a, accelerate=accelerate), first)


def kernel(table, a, b, epsilon, p, q, tol, max_steps) -> anderson.State:
    """The same on a stored kernel, built from (p, q) and again whenever they moved far."""
    slow, xp = log_rows(table, a, b, epsilon), module_of(p)

    def round_(state):
        p, q = state.now.p, state.now.q
        K = table.kernel(xp.where(a > 0, p, -xp.inf), xp.where(b > 0, q, -xp.inf), epsilon)
        state = anderson.shift(state, p, q)

        def rows(p, _):
            p = xp.clip(p, -CLIP, CLIP)
            q = -xp.log(matmul(a * xp.exp(p), K))
            q = xp.where(b > 0, q, 0)
            r = -(p + xp.log(matmul(K, b * xp.exp(q))))
            return _point(a, p, q, r)

        def near(state):
            moved = xp.maximum(xp.max(xp.abs(state.now.p)), xp.max(xp.abs(state.now.q)))
            return ~(state.now.error <= tol) & (state.steps < max_steps) & (moved < FAR)

        here = rows(xp.zeros_like(p), q)
        usable = xp.isfinite(here.error)
        here = choose(usable, here, state.now)
        state = state._replace(now=here, best=here, least=here.error, steps=state.steps + 1)
        state = while_loop(lambda s: usable & near(s), lambda s: anderson.step(s, rows, a), state)
        state = anderson.shift(state, -p, -q)

        def one_by_logs(state):
            new = slow(state.now.p + state.now.r, state.now.q)
            return state._replace(now=new, best=new, least=new.error, steps=state.steps + 1)

        return cond(usable, lambda s: s, one_by_logs, state)

    def unfinished(state):
        return ~(state.now.error <= tol) & (state.steps < max_steps)

    unknown = Point(p, q, xp.zeros_like(p), xp.full_like(tol, xp.inf))
    return while_loop(unfinished, round_, anderson.start(unknown, steps=0))


def anneal(table, a, b, epsilon, f, g, highest):
    """(f, g) after a few sweeps at each epsilon on the way from `highest` down to `epsilon`."""
    xp = module_of(a)
    log_a, log_b = xp.log(a), xp.log(b)

    def level(carry):
        f, g, e = carry
        for _ in range(LEVEL):
            f = f - e * table.sums(f, g + e * log_b, e, 1)
            g = g - e * table.sums(g, f + e * log_a, e, 0)
        return f, g, xp.where(e > epsilon, xp.maximum(e / FOUR, epsilon), 0)

    first = f, g, xp.maximum(highest, epsilon)
    f, g, _ = while_loop(lambda c: c[2] > 0, level, first)
    return f, g
