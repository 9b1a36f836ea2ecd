"""One solve, from the start to a status: here, on NumPy arrays, or as one traced program."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from otlab.core.status import Status
from otlab.couplings.entropic_ot.engine import inputs, iterate
from otlab.couplings.entropic_ot.engine.begin import begin
from otlab.couplings.entropic_ot.engine.host import tables as host
from otlab.couplings.entropic_ot.engine.host.numbers import module_of, one_thread
from otlab.couplings.entropic_ot.engine.tables import Table

# Float32 moves a marginal by at most this many eps * max|C| / epsilon: the largest of 864
# comparisons with float64 (d = 1 to 128, shifts to 30, both costs) was 0.47.
ROUNDING = 0.5


class Route(NamedTuple):
    """How the solver runs: what jax compiles for, nothing that it traces."""

    cost: str | Callable
    block: int | None
    method: str
    warm: bool
    shards: int


def solved(x, y, a, b, g, epsilon, tol, max_steps, how):
    """(f, g, error, steps, status, floor) of clouds x (n, d), y (m, d) and weights a, b.

    g: where to start when how.warm. On one CPU, under no trace, the kernel's way runs here: it
    compiles next to nothing, and nothing again for a size near by. All else is one program for
    each size, as under `jit`, `vmap`, on an accelerator and on several devices.
    """
    arguments = x, y, a, b, g, epsilon, tol, max_steps
    traced = any(isinstance(v, jax.core.Tracer) for v in arguments)
    return (_differentiated if traced else _run)(*arguments, how)


def _run(x, y, a, b, g, epsilon, tol, max_steps, how):
    arguments = x, y, a, b, g, epsilon, tol, max_steps
    if how.method == "kernel" and inputs.on_this_cpu(*arguments):
        with one_thread():
            x, y, *rest = map(np.asarray, arguments)
            return jax.device_put(_solution(host.table(x, y, how.cost), *rest, how))
    return program(*arguments, how)


_differentiated = jax.custom_vjp(_run, nondiff_argnums=(8,))


@partial(jax.jit, static_argnums=8)
def program(x, y, a, b, g, epsilon, tol, max_steps, how):
    """The same, traced."""
    large = len(x) * len(y) > inputs.SMALL * how.shards
    block = inputs.STREAM if how.method == "kernel" and large else how.block
    table = Table(x, y, how.cost, block, how.shards)
    return _solution(table, a, b, g, epsilon, tol, max_steps, how)


def _solution(table, a, b, g, epsilon, tol, max_steps, how):
    """(f, g, error, steps, status, floor) on a table, traced or not."""
    xp = module_of(a)
    largest = table.largest()
    floor = ROUNDING * np.finfo(a.dtype).eps * largest / epsilon
    if how.warm or how.method == "plain":
        q = g / epsilon
        p = -table.sums(xp.zeros_like(a), g + epsilon * xp.log(b), epsilon, 1, True)
    else:
        p, q = begin(table, a, b, epsilon)
    stop = xp.maximum(tol, floor)
    if how.method == "kernel":
        end = iterate.kernel(table, a, b, epsilon, p, q, stop, max_steps)
    else:
        rows = iterate.log_rows(table, a, b, epsilon)
        accelerate = how.method != "plain"
        end = iterate.log_domain(rows, p, q, a, stop, max_steps, accelerate=accelerate)
    p, q = iterate.complete(table, a, b, epsilon, end.now.p, end.now.q)
    f, g, error, steps = epsilon * p, epsilon * q, end.now.error, end.steps

    status = xp.where(error <= tol, np.int32(Status.CONVERGED), np.int32(Status.MAX_STEPS))
    status = xp.where(xp.isfinite(error), status, np.int32(Status.NONFINITE))
    status = xp.where(floor > tol, np.int32(Status.PRECISION), status)
    status = xp.where(xp.isfinite(largest), status, np.int32(Status.NONFINITE))
    return f, g, error, steps, status, floor


def _forward(x, y, a, b, g, epsilon, tol, max_steps, how):
    return _run(x, y, a, b, g, epsilon, tol, max_steps, how), None


def _backward(how, _, cotangents):
    raise ValueError(
        "sinkhorn does not differentiate through its potentials: f, g, plan(), "
        "transport_cost() and sharpness() have no gradient in the inputs. Differentiate "
        "result.dual_value(), which is exact by the envelope theorem, or wrap the result in "
        "jax.lax.stop_gradient."
    )


_differentiated.defvjp(_forward, _backward)
