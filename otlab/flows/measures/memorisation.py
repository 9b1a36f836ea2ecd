"""Memorisation: whether samples lie nearer to the training data than to fresh data."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.blocks import over_rows
from otlab.core.costs import squared_distances
from otlab.core.inputs import cloud, positive_int


class Nearest(eqx.Module):
    """The k points of a set nearest to each query, nearest first.

    distance: shape (n, k), in units of length.   index: rows of the set, shape (n, k).
    """

    distance: Float[Array, "n k"]
    index: Int[Array, "n k"]


def nearest(x: Array, points: Array, *, k: int = 1, block: int = 512) -> Nearest:
    """The k of `points` (m, ...) nearest to each row of x (n, ...), by exact search.

    The rows found come from the expanded square, their distances from differences, so that a
    copy is at distance zero. block: queries at a time, each with a row of m distances.

    Raises:
        ValueError: for other shapes, no point, NaN, or k outside 1 … m.
    """
    x, points = _rows("x", x), _rows("points", points)
    if x.shape[1] != points.shape[1]:
        raise ValueError(f"nearest wants points of one size; got {x.shape[1]} numbers in a row of "
                         f"x and {points.shape[1]} in one of points.")
    if positive_int("k", k) > len(points):
        raise ValueError(f"k={k} neighbours among {len(points)} points; take at most all of them.")
    return _nearest(x, points, k, positive_int("block", block))


@eqx.filter_jit
def _nearest(x, points, k, block):
    def rows(x):
        _, index = jax.lax.top_k(-squared_distances(x, points), k)
        distance = jnp.sqrt(jnp.sum((x[:, None] - points[index]) ** 2, axis=-1))
        order = jnp.argsort(distance, axis=1)
        return Nearest(*(jnp.take_along_axis(v, order, axis=1) for v in (distance, index)))

    return over_rows(rows, block, x)


class Memorisation(eqx.Module):
    """How near samples come to the data that trained their model.

    to_train, to_test: distance to the nearest of each, shape (n,), in units of length.
    index: the nearest training point, shape (n,).
    closer: fraction of samples whose nearest real point is a training point; a tie counts half.
    chance: what `closer` is for samples that know nothing of the split, N / (N + M).
    copies: fraction of samples three times nearer to one training point than to any other.
    """

    to_train: Float[Array, " n"]
    to_test: Float[Array, " n"]
    index: Int[Array, " n"]
    closer: Float[Array, ""]
    chance: Float[Array, ""]
    copies: Float[Array, ""]

    @property
    def excess(self) -> Float[Array, ""]:
        """(closer - chance) / (1 - chance): 0 for none, 1 when all samples sit by training data."""
        return (self.closer - self.chance) / (1 - self.chance)


COPY = 1 / 3  # of the distance to the second nearest training point


def memorisation(x: Array, train: Array, test: Array, *, block: int = 512) -> Memorisation:
    """Compare samples x (n, ...) with the training points (N, ...) and fresh points (M, ...).

    Given a sample that does not depend on which real points were used for training, the nearest
    of all N + M real points is a training point with probability N / (N + M), whatever N and M:
    no set must be cut to the size of the other. A fraction above chance is memorisation.

    Args:
        x: generated samples.
        train, test: real points of one distribution, seen and not seen in training, all distinct.

    Raises:
        ValueError: as `nearest`; train must hold two points at least.

    Source: the pooled nearest neighbour is Schilling's two-sample test (1986) on the split; a
    third of the second distance: Yoon et al. (2023), Diffusion probabilistic models generalize
    when they fail to memorize.
    """
    seen = nearest(x, train, k=2, block=block)
    fresh = nearest(x, test, block=block).distance[:, 0]
    first, second = seen.distance[:, 0], seen.distance[:, 1]
    closer = jnp.mean(jnp.where(first == fresh, 0.5, (first < fresh).astype(first.dtype)))
    chance = jnp.asarray(len(train) / (len(train) + len(test)), closer.dtype)
    return Memorisation(first, fresh, seen.index[:, 0], closer, chance,
                        jnp.mean((first < COPY * second).astype(first.dtype)))


def _rows(name, x):
    x = cloud(name, jnp.asarray(x))
    return x.reshape(len(x), -1)
