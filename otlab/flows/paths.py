"""Conditional paths: how a point travels from its source to its partner."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class PathSample(NamedTuple):
    """A point of a path and its velocity there, both of the shape of the end points."""

    x_t: Array
    v_t: Array


class LinearPath(eqx.Module):
    """x_t = (1 - t) x0 + t x1, the straight segment at constant speed.

    Any object with this call signature is a path that the training loss accepts.
    Source: sheet of arXiv 2506.05526, section 3.7; Lipman et al. (2023), with sigma = 0.
    """

    def __call__(self, t: Float[Array, ""], x0: Array, x1: Array) -> PathSample:
        """Position and velocity of one pair at time t; x0 and x1 of one shape."""
        if jnp.shape(x0) != jnp.shape(x1):
            raise ValueError(
                f"A path joins two points of one shape; got x0 {jnp.shape(x0)} and "
                f"x1 {jnp.shape(x1)}. Flatten images first: x.reshape(len(x), -1)."
            )
        t = jnp.asarray(t, x0.dtype)
        return PathSample((1 - t) * x0 + t * x1, x1 - x0)
