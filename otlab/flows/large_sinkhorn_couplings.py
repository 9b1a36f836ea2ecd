"""Pairs of noise and data from large Sinkhorn couplings: batches, streams, projection."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from otlab.core.costs import relative_epsilon
from otlab.couplings.entropic_ot.engine import inputs
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn
from otlab.couplings.pairs import Pairs, noise_at

STREAM = 512  # rows a tile of the textbook iteration, which is faster on tiles above this size


class BatchReport(eqx.Module):
    """What each OT batch cost and how sharp it is; every field has one entry a batch.

    sharpness: renormalised entropy, 0 (permutation) to 1 (independent).
    error: L1 row-marginal gap.  steps: Sinkhorn sweeps.  status: a Status code.
    """

    sharpness: Float[Array, " batches"]
    error: Float[Array, " batches"]
    steps: Int[Array, " batches"]
    status: Int[Array, " batches"]

    @property
    def converged(self) -> bool:
        """Whether every batch met its tolerance."""
        return bool(jnp.all(self.status == 0))


def couple_in_batches(key, x, y, *, n: int, epsilon, tol=1e-3, max_steps=5_000, method="auto"):
    """Partners j (N,) for paired pools x and y, (N, d) each: OT inside consecutive batches of n.

    The clouds are centred over the whole pool and epsilon is relative: each batch is solved at
    epsilon * std(C), C = -<x, y>. x[i] goes with y[j[i]], drawn from row i of its batch's plan:
    every x is used once; a y is used once on average, but some several times and some never
    (a share 1/e of them where plans are blurred, none where they are permutations).

    Args:
        key: PRNG key of the draw.
        x, y: noise and data, both (N, d); N must be a multiple of n.
        n: OT batch size; unrelated to the batch of the gradient. n = 1 is independent pairing.
        epsilon: in units of std(C).
        tol, max_steps, method: as in `sinkhorn`; steps count sweeps when method is "plain".

    Returns:
        (j, BatchReport).

    Source: arXiv 2506.05526, sections 3.1 to 3.5 of the sheet.
    """
    if x.shape != y.shape:
        raise ValueError(
            f"couple_in_batches wants pools of one shape; got {x.shape} and "
            f"{y.shape}. For unequal numbers call sinkhorn on each batch."
        )
    N = len(x)
    if n < 1 or N % n:
        raise ValueError(
            f"n={n} does not divide the pool of {N} points; take a divisor, such as "
            f"{max(k for k in range(1, max(2, min(n, N) + 1)) if N % k == 0)}."
        )
    if n == 1:
        one = jnp.ones(N)
        return jnp.arange(N), BatchReport(one, 0 * one, jnp.zeros(N, int), jnp.zeros(N, int))
    step = relative_epsilon(x, y, epsilon)
    step, tol, max_steps = inputs.settings(step, tol, max_steps, None, x.dtype)
    return _couple(key, x, y, step, tol, max_steps, n, method)


def _block(method: str, n: int) -> int | None:
    return STREAM if method == "plain" and n > STREAM else None


@partial(jax.jit, static_argnums=(6, 7))
def _couple(key, x, y, epsilon, tol, max_steps, n, method):
    batches = len(x) // n
    x, y = x - x.mean(0), y - y.mean(0)

    def solve(args):
        key, x, y = args
        r = sinkhorn(x, y, epsilon=epsilon, cost="dot", tol=tol, max_steps=max_steps,
                     method=method, block=_block(method, n))
        return r.sample_pairs(key), BatchReport(r.sharpness(), r.error, r.steps, r.status)

    parts = (jax.random.split(key, batches), x.reshape(batches, n, -1), y.reshape(batches, n, -1))
    together = min(batches, 2**16 // n**2)  # small batches side by side, large ones in turn
    j, report = jax.lax.map(solve, parts, batch_size=together if together > 1 else None)
    return (j + n * jnp.arange(batches)[:, None]).reshape(len(x)), report


@partial(jax.jit, static_argnames="k")
def principal_directions(y, k: int):
    """The k leading principal directions of y (m, d), shape (d, k), largest variance first.

    Project both clouds on them for the cost only, x @ V and y @ V: pairs then cost O(n² k).

    Raises:
        ValueError: for k outside 1 … d.
    """
    d = y.shape[1]
    if not 1 <= k <= d:
        raise ValueError(f"k must lie between 1 and d={d}; got {k}.")
    centred = y - y.mean(0)
    _, vectors = jnp.linalg.eigh(jnp.matmul(centred.T, centred, precision="highest"))
    return vectors[:, ::-1][:, :k]


@dataclass(frozen=True)
class Streamed:
    """One OT batch of a stream: its pairs' ids and the solver's result."""

    noise_id: np.ndarray
    data_id: np.ndarray
    sharpness: float
    result: object


def stream_pairs(
    seed: int,
    data,
    *,
    n: int,
    epsilon,
    batches: int,
    warm: bool = True,
    directions=None,
    tol=1e-3,
    max_steps=5_000,
    method="auto",
) -> Iterator[Streamed]:
    """Couple endless noise with a finite data set, n noise points at a time.

    A batch holds n fresh noise points and min(n, m) data: all m of them when n ≥ m (then the
    potentials g of one batch warm-start the next), otherwise n drawn without replacement.

    Args:
        seed: of the noise, of the data drawn and of the pairs.
        data: shape (m, ...), flattened for the cost, centred inside.
        n: noise points a batch.  epsilon: in units of std(C).  batches: how many.
        warm: start from the last potentials by the soft c-transform.
        directions: None, or V (d, k) on which both clouds are projected for the cost.
        tol, max_steps, method: as in `sinkhorn`; steps count sweeps when method is "plain".

    Yields:
        Streamed batches; `collect` turns them into `Pairs`.

    Source: arXiv 2506.05526, section 3.6 of the sheet.
    """
    if n < 2 or batches < 1:
        raise ValueError(
            f"stream_pairs wants n ≥ 2 and batches ≥ 1; got n={n}, "
            f"batches={batches}. Independent pairs need no coupling."
        )
    flat = jnp.asarray(data).reshape(len(data), -1)
    flat = flat - flat.mean(0)
    m, d = flat.shape
    key_noise, key_rest = jax.random.key(seed), jax.random.fold_in(jax.random.key(seed), 2**31)
    V = jnp.eye(d) if directions is None else directions
    target_all = flat @ V
    last = None
    for k in range(batches):
        key_data, key_draw = jax.random.split(jax.random.fold_in(key_rest, k))
        noise_id = np.arange(k * n, (k + 1) * n, dtype=np.uint32)
        x = noise_at(key_noise, jnp.asarray(noise_id), (d,)) @ V
        rows = jnp.arange(m) if n >= m else jax.random.choice(key_data, m, (n,), replace=False)
        y = target_all[rows]
        start = None
        if warm and last is not None:
            start = last.target_potential(y) if n < m else last.g
        step = relative_epsilon(x, y, epsilon)
        last = sinkhorn(x, y, epsilon=step, cost="dot", tol=tol, max_steps=max_steps, init=start,
                        method=method, block=_block(method, n))
        j = last.sample_pairs(key_draw)
        yield Streamed(noise_id, np.asarray(rows[j], np.int32), float(last.sharpness()), last)


def collect(seed: int, stream) -> Pairs:
    """All batches of a stream as one `Pairs`; every batch must have converged."""
    parts = [(s.noise_id, s.data_id, s.result.require_converged()) for s in stream]
    return Pairs(seed, np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
