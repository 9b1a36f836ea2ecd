"""Linear systems that are known by their products only, by conjugate gradients."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from otlab.core.status import Status

STEPS = 2_000  # at most
PATIENCE = 200  # steps without a better residual, at least, after which rounding has won


class Solution(NamedTuple):
    """s with matvec(s) = rhs; error: |matvec(s) - rhs| / |rhs|; steps taken; a `Status`."""

    value: Array
    error: Array
    steps: Array
    status: Array


def default_tol(dtype):
    """Relative residual that a dtype can carry: eps^(3/4), 6e-6 in float32, 2e-12 in float64."""
    return float(jnp.finfo(dtype).eps) ** 0.75


def conjugate_gradients(matvec, rhs, *, diagonal=1.0, tol=1e-6, max_steps=STEPS) -> Solution:
    """Solve matvec(s) = rhs for a symmetric, positive matvec on vectors (k,).

    Args:
        diagonal: positive preconditioner, (k,) or a number (Jacobi: the matrix's diagonal).
        tol: stop when the residual is below tol |rhs|.
        max_steps: cap on steps.

    Rounding ends it too: when a step finds no positive curvature, or no step of the last half
    (and of the last PATIENCE) improved; residuals of an ill-conditioned system may rise for
    long before they fall. The best iterate is returned. Its residual is computed afresh, and
    where that misses tol although steps were left, the status is PRECISION.

    A step costs one product and O(k); six vectors (k,) are held, whatever the steps.

    Source: Hestenes and Stiefel (1952), preconditioned.
    """
    size = jnp.linalg.norm(rhs)

    def unfinished(state):
        _, _, _, rz, k, (_, least, at) = state
        hopeful = k - at < jnp.maximum(PATIENCE, at)
        return (k < max_steps) & (least > tol * size) & (rz > 0) & hopeful

    def step(state):
        s, r, p, rz, k, (best, least, at) = state
        q = matvec(p)
        curvature = jnp.vdot(p, q)
        alpha = jnp.where(curvature > 0, rz / curvature, 0)
        s, r = s + alpha * p, r - alpha * q
        z = r / diagonal
        rz, old = jnp.where(curvature > 0, jnp.vdot(r, z), 0), rz
        left = jnp.linalg.norm(r)
        better = left < least
        kept = jnp.where(better, s, best), jnp.where(better, left, least), jnp.where(better, k, at)
        return s, r, z + rz / old * p, rz, k + 1, kept

    z, zeros, none = rhs / diagonal, jnp.zeros_like(rhs), jnp.zeros((), jnp.int32)
    start = zeros, rhs, z, jnp.vdot(rhs, z), none, (zeros, size, none)
    *_, k, (best, least, _) = lax.while_loop(unfinished, step, start)
    safe = jnp.where(size > 0, size, 1)
    error = jnp.linalg.norm(matvec(best) - rhs) / safe
    code = partial(jnp.asarray, dtype=jnp.int32)
    status = jnp.where(k < max_steps, code(Status.PRECISION), code(Status.MAX_STEPS))
    status = jnp.where(error <= 2 * tol, code(Status.CONVERGED), status)
    status = jnp.where(jnp.isfinite(error + least), status, code(Status.NONFINITE))
    return Solution(best, error, k, status)


def normal_solve(matvec, rhs, *, tol=None, max_steps=STEPS):
    """Solve matvec(u) = rhs for a square matvec by conjugate gradients on the normal equations.

    It asks nothing of matvec but linearity, and pays for that: the condition number is
    squared. Pytrees are welcome. Pass `partial(normal_solve, tol=..., max_steps=...)`.
    """
    flat, unravel = ravel_pytree(rhs)
    tol = default_tol(flat.dtype) if tol is None else tol

    def forward(u):
        return ravel_pytree(matvec(unravel(u)))[0]

    back = jax.linear_transpose(forward, flat)
    solved = conjugate_gradients(
        lambda u: back(forward(u))[0], back(flat)[0], tol=tol, max_steps=max_steps
    )
    return unravel(solved.value)
