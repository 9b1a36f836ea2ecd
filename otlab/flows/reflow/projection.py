"""Move one end of stored pairs back onto the law that it should have."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import positive, positive_int
from otlab.core.linalg import symmetric_power
from otlab.couplings.entropic_ot.divergence import sinkhorn_divergence


@jax.jit
def whiten(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The points moved, as little as an affine map allows, to mean 0 and covariance I.

    Raises nothing: directions without variance keep theirs. Needs n well above d.
    """
    x = x - x.mean(0)
    covariance = jnp.matmul(x.T, x, precision="highest") / len(x)
    gain = symmetric_power(covariance, -0.5, least=1e-6, otherwise=1)
    return jnp.matmul(x, gain, precision="highest")


class Projected(eqx.Module):
    """Points (n, d) after the flow, and the divergence that each step saw before it moved."""

    points: Float[Array, "n d"]
    divergences: Float[Array, " steps"]


def project(key, points: Float[Array, "n d"], target, *, epsilon, steps: int, batch: int,
            rate=1.0) -> Projected:
    r"""Follow the gradient of the Sinkhorn divergence from `points` to a law, step by step.

    Every step takes `batch` of the points and as many of the target and moves each point by
    rate (T_xy(x) - T_xx(x)), T the entropic maps to the target and to its own batch.

    Args:
        key: PRNG key of the batches.
        points: one end of stored pairs; their partners stay.
        target: points to draw from, shape (m, d), or a function (key, n) -> (n, d).
        epsilon: of the divergence, in units of |x - y|^2.
        steps, batch: gradient steps, and points in each (at most n).
        rate: share of the way that one step goes.

    Stands in for improvement 6 of arXiv 2410.07815, which does this with networks: a Sinkhorn
    loss on the noise side, an adversary on the data side.

    Raises:
        ValueError: when a batch is larger than the cloud, or shapes differ.
    """
    points = jnp.asarray(points)
    if batch > len(points):
        raise ValueError(f"batch={batch} is more than the {len(points)} points; lower it.")
    if not callable(target):
        target = Drawn(jnp.asarray(target))
    d = jax.eval_shape(partial(target, n=2), jax.random.key(0)).shape[1]
    if d != points.shape[1]:
        raise ValueError(f"points have {points.shape[1]} coordinates, the target {d}.")
    return _project(key, points, target, jnp.asarray(positive("epsilon", epsilon), points.dtype),
                    jnp.asarray(rate, points.dtype), positive_int("steps", steps),
                    positive_int("batch", batch))


class Drawn(eqx.Module):
    """Rows of an array, drawn with replacement: (key, n) -> (n, d)."""

    rows: Float[Array, "m d"]

    def __call__(self, key, n: int):
        return self.rows[jax.random.randint(key, (n,), 0, len(self.rows))]


def normal(d: int):
    """The target N(0, I) in d dimensions, as `project` takes it."""
    return Normal(positive_int("d", d))


class Normal(eqx.Module):
    """(key, n) -> n points of N(0, I), shape (n, d)."""

    d: int = eqx.field(static=True)

    def __call__(self, key, n: int):
        return jax.random.normal(key, (n, self.d))


@eqx.filter_jit
def _project(key, points, target, epsilon, rate, steps, batch):
    def body(points, key):
        key_rows, key_target = jax.random.split(key)
        rows = jax.random.permutation(key_rows, len(points))[:batch]
        y = target(key_target, n=batch)
        value, slope = jax.value_and_grad(
            lambda x: sinkhorn_divergence(x, y, epsilon=epsilon).value)(points[rows])
        # The gradient in one point is 2 / batch (T_xx(x) - T_xy(x)).
        return points.at[rows].add(-rate * batch / 2 * slope), value

    return Projected(*jax.lax.scan(body, points, jax.random.split(key, steps)))
