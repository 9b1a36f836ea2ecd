"""Derivatives of Sinkhorn's potentials by the implicit function theorem, from potentials alone.

At the solution every row and every column of K = exp((f + g - C) / epsilon) averages to one,

    R_i = sum_j K_ij b_j = 1,        S_j = sum_i a_i K_ij = 1.

Differentiating these n + m equations gives one linear system for (df, dg),

    [ diag R     K diag b ] [df]              [dR]
    [ K^T diag a   diag S ] [dg]  = -epsilon  [dS]   at fixed f, g,

whose transpose turns a cotangent of (f, g) into gradients. Neither direction looks at the
iterations that found f and g, nor stores them. One block is eliminated (its Schur complement
is a graph Laplacian on the smaller cloud) and the rest solved by conjugate gradients.

Source: Blondel et al., arXiv 2105.15183, section 2, for the recipe; Cuturi et al.,
arXiv 2002.03229, for Sinkhorn; here in the normalisation P_ij = a_i b_j K_ij of `sinkhorn`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from otlab.core.blocks import over_rows
from otlab.core.costs import HIGHEST, resolve_cost
from otlab.core.status import REMEDY, Status
from otlab.couplings.entropic_ot.engine.conjugate_gradients import (
    STEPS,
    Solution,
    conjugate_gradients,
    default_tol,
)
from otlab.couplings.entropic_ot.engine.tables import outer


class Cotangents(eqx.Module):
    """Gradients of a scalar that reaches the inputs through the potentials.

    x, y, a, b, epsilon: each of the shape of what it is the gradient of. The weights keep
    their sum, so <a, a_bar> = <b, b_bar> = 0.
    error: relative residual of the linear system.   steps: conjugate-gradient steps.
    status: a `Status`; require_converged() turns it into words.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "m d"]
    a: Float[Array, " n"]
    b: Float[Array, " m"]
    epsilon: Float[Array, ""]
    error: Float[Array, ""]
    steps: Int[Array, ""]
    status: Int[Array, ""]

    def require_converged(self) -> "Cotangents":
        """Return self, or raise RuntimeError saying what to change."""
        status = Status(int(np.max(self.status)))
        if status is Status.CONVERGED:
            return self
        raise RuntimeError(
            f"the adjoint of sinkhorn {REMEDY[status]} (conjugate gradients: "
            f"steps={int(np.max(self.steps))}, relative residual={float(np.max(self.error)):.1e})"
        )


class System(NamedTuple):
    """The linear system at (f, g): products with K and K^T, the weights, and R, S."""

    times: Callable  # (m,) -> (n,): K v, or K**power v
    transposed: Callable  # (n,) -> (m,): K^T u
    a: Array
    b: Array
    R: Array
    S: Array

    def flipped(self) -> "System":
        """The same system with the two clouds exchanged."""
        return System(self.transposed, self.times, self.b, self.a, self.S, self.R)


def kernel(x, y, f, g, epsilon, cost, block):
    """Products with K = exp((f + g - C) / epsilon): a pair of functions v -> K v, u -> K^T u.

    block=None computes K once and keeps it; a number of rows recomputes it in tiles each
    time, and keeps nothing (under differentiation too).
    """
    cost = resolve_cost(cost)
    # Two points without mass may have a huge K_ij, which no weight multiplies: keep it finite.
    cap = 0.45 * float(np.log(float(jnp.finfo(f.dtype).max)))

    def table(x, y, f, g):
        return jnp.exp(jnp.minimum((outer(f, g, 1) - cost(x, y)) / epsilon, cap))

    def right(K, v, power=1):
        return jnp.matmul(K if power == 1 else K**power, v, precision=HIGHEST)

    def left(K, u, power=1):
        return jnp.matmul(u, K if power == 1 else K**power, precision=HIGHEST)

    if block is None:
        K = table(x, y, f, g)
        return partial(right, K), partial(left, K)

    def times(v, power=1):
        rows = jax.checkpoint(lambda x, f: right(table(x, y, f, g), v, power))
        return over_rows(rows, block, x, f)

    def transposed(u, power=1):
        columns = jax.checkpoint(lambda y, g: left(table(x, y, f, g), u, power))
        return over_rows(columns, block, y, g)

    return times, transposed


def system(x, y, a, b, f, g, epsilon, cost, block) -> System:
    """The linear system at the potentials; two passes over C for R and S."""
    times, transposed = kernel(x, y, f, g, epsilon, cost, block)
    return System(times, transposed, a, b, times(b), transposed(a))


def _schur_solve(sys: System, rhs, tol, max_steps) -> Solution:
    """Solve (I - Q Q^T) s = rhs, with Q = sqrt(a / R) K sqrt(b / S), orthogonal to its kernel.

    Q has largest singular value one, at t = sqrt(a R): the constant that f and g may
    exchange. Adding t t^T makes the matrix positive. The diagonal is the preconditioner.
    """
    left, right = jnp.sqrt(sys.a / sys.R), sys.b / sys.S
    t = jnp.sqrt(sys.a * sys.R)
    t = t / jnp.linalg.norm(t)

    def matvec(s):
        return s - left * sys.times(right * sys.transposed(left * s)) + t * jnp.vdot(t, s)

    diagonal = 1 - left**2 * sys.times(right, power=2) + t**2
    diagonal = jnp.maximum(diagonal, 10 * jnp.finfo(t.dtype).eps)

    rhs = rhs - t * jnp.vdot(t, rhs)
    return conjugate_gradients(matvec, rhs, diagonal=diagonal, tol=tol, max_steps=max_steps)


def tangent(sys: System, p, q, *, tol, max_steps):
    """(df, dg) with R df + K (b dg) = p and S dg + K^T (a df) = q; the gauge <a, df> = <b, dg>."""
    if len(sys.a) > len(sys.b):
        dg, df, solved = tangent(sys.flipped(), q, p, tol=tol, max_steps=max_steps)
        return df, dg, solved
    left = jnp.sqrt(sys.a / sys.R)
    rhs = left * (p - sys.times(sys.b / sys.S * q))
    solved = _schur_solve(sys, rhs, tol, max_steps)  # s = sqrt(a R) df
    dg = (q - sys.transposed(left * solved.value)) / sys.S
    df = (p - sys.times(sys.b * dg)) / sys.R  # holds for points without mass too
    row, column = _masses(sys)
    shift = (jnp.vdot(row, df) - jnp.vdot(column, dg)) / 2
    return df - shift, dg + shift, solved


def adjoint(sys: System, f_bar, g_bar, *, tol, max_steps):
    """(u, v) with R u + a K v = f_bar and S v + b K^T u = g_bar: the transpose of `tangent`.

    A constant may move from f to g; the part of the cotangent that sees it is removed.
    """
    if len(sys.a) > len(sys.b):
        v, u, solved = adjoint(sys.flipped(), g_bar, f_bar, tol=tol, max_steps=max_steps)
        return u, v, solved
    row, column = _masses(sys)
    seen = (jnp.sum(f_bar) - jnp.sum(g_bar)) / 2
    f_bar, g_bar = f_bar - seen * row, g_bar + seen * column
    reached = sys.b * sys.transposed(f_bar / sys.R) - g_bar
    rhs = jnp.sqrt(sys.a / sys.R) * sys.times(reached / sys.S)
    solved = _schur_solve(sys, rhs, tol, max_steps)  # R u = f_bar + sqrt(a R) s
    u = (f_bar + jnp.sqrt(sys.a * sys.R) * solved.value) / sys.R
    v = (g_bar - sys.b * sys.transposed(u)) / sys.S
    return u, v, solved


def _masses(sys):
    row, column = sys.a * sys.R, sys.b * sys.S
    return row / jnp.sum(row), column / jnp.sum(column)


@partial(jax.jit, static_argnames=("cost", "block"))
def potentials_vjp(
    x, y, a, b, f, g, f_bar, g_bar, *, epsilon, cost="sqeuclidean", block=None, tol=None,
    max_steps=STEPS,
) -> Cotangents:  # fmt: skip
    """Pull a cotangent of Sinkhorn's potentials back to the points, the weights and epsilon.

    Args:
        x, y, a, b, f, g: a solved problem: points (n, d), (m, d), weights and potentials
            (n,), (m,), with P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon).
        f_bar, g_bar: derivatives of the scalar with respect to f and g, (n,) and (m,).
        epsilon, cost, block: as `sinkhorn` had them. With `block` no (n, m) array exists.
        tol: relative residual of the linear system; None for `default_tol`.
        max_steps: cap on conjugate-gradient steps, each two products with K.

    With (u, v) from `adjoint`, the gradients are those of
    -epsilon sum_ij K_ij (b_j u_i + a_i v_j) at fixed u, v, f, g and leading epsilon:

        C_bar = K (b u + a v),   epsilon_bar = sum_ij C_bar_ij log K_ij,
        a_bar = -epsilon K v,    b_bar = -epsilon K^T u.

    Differentiate only what (f + c, g - c) leaves alone: plans, costs, gradients of potentials.

    Raises:
        ValueError: when a cotangent has not the shape of its potential.
    """
    for name, bar, potential in (("f_bar", f_bar, f), ("g_bar", g_bar, g)):
        if jnp.shape(bar) != jnp.shape(potential):
            raise ValueError(
                f"potentials_vjp wants {name} of shape {jnp.shape(potential)}, one number for each "
                f"potential; got {jnp.shape(bar)}. For many cotangents use jax.vmap."
            )
    tol = default_tol(f.dtype) if tol is None else tol
    sys = system(x, y, a, b, f, g, epsilon, cost, block)
    u, v, solved = adjoint(sys, f_bar, g_bar, tol=tol, max_steps=max_steps)

    def conditions(x, y, a, b, epsilon):
        def rows(x, f, u, a):
            times, _ = kernel(x, y, f, g, epsilon, cost, None)
            return u * times(b) + a * times(v)

        return jnp.sum(over_rows(jax.checkpoint(rows), block, x, f, u, a))

    pull = jax.grad(conditions, argnums=(0, 1, 2, 3, 4))
    x_bar, y_bar, a_bar, b_bar, epsilon_bar = (-epsilon * d for d in pull(x, y, a, b, epsilon))
    a_bar, b_bar = a_bar - jnp.vdot(a, a_bar), b_bar - jnp.vdot(b, b_bar)
    return Cotangents(
        x_bar, y_bar, a_bar, b_bar, epsilon_bar, solved.error, solved.steps, solved.status
    )


def attach(x, y, a, b, f, g, *, epsilon, cost="sqeuclidean", block=None, tol=None, max_steps=STEPS):
    """(f, g) as they are, with the derivatives in x, y, a, b and epsilon that the theorem gives.

    Whichever solver found f and g: they are taken to solve the problem. Forward mode, reverse
    mode and their compositions; the derivative in the given f and g is zero. Arguments as in
    `potentials_vjp`; f and g are in the gauge <a, df> = <b, dg>.
    """
    tol = default_tol(f.dtype) if tol is None else tol
    return _attach(x, y, a, b, f, g, jnp.asarray(epsilon, f.dtype), cost, block, tol, max_steps)


@partial(jax.custom_jvp, nondiff_argnums=(7, 8, 9, 10))
def _attach(x, y, a, b, f, g, epsilon, cost, block, tol, max_steps):
    return f, g


@_attach.defjvp
def _attach_jvp(cost, block, tol, max_steps, primals, tangents):
    x, y, a, b, f, g, epsilon = primals
    dx, dy, da, db, _, _, depsilon = tangents
    da, db = da - a * jnp.sum(da), db - b * jnp.sum(db)  # weights keep their sum
    f, g = _attach(x, y, a, b, f, g, epsilon, cost, block, tol, max_steps)

    def conditions(x, y, a, b, epsilon):
        times, transposed = kernel(x, y, f, g, epsilon, cost, block)
        return times(b), transposed(a)

    at, along = (x, y, a, b, epsilon), (dx, dy, da, db, depsilon)
    (R, S), (dR, dS) = jax.jvp(conditions, at, along)
    times, transposed = kernel(x, y, f, g, epsilon, cost, block)
    sys = System(times, transposed, a, b, R, S)

    def matvec(z):
        df, dg = z
        return R * df + times(b * dg), S * dg + transposed(a * df)

    how = dict(tol=tol, max_steps=max_steps)
    moved = lax.custom_linear_solve(
        matvec,
        (-epsilon * dR, -epsilon * dS),
        solve=lambda _, rhs: tangent(sys, *rhs, **how)[:2],
        transpose_solve=lambda _, bar: adjoint(sys, *bar, **how)[:2],
    )
    return (f, g), moved
