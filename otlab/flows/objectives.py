"""What training minimises: a loss of a batch of pairs, averaged over the times it draws."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import check_pair
from otlab.flows.paths import LinearPath


def uniform(key, n: int, dtype=jnp.float32) -> Float[Array, " n"]:
    """n times, uniform on [0, 1]."""
    return jax.random.uniform(key, (n,), dtype)


class FlowMatching(eqx.Module):
    r"""Mean over pairs of w |phi(v_t - v_theta(t, x_t))|^2, in squared length.

    Any function (key, model, x0, x1[, condition]) -> scalar is an objective of `learning.fit.fit`;
    this is the usual one.

    path: position and target velocity of a pair at time t.
    times: law of t, a function (key, n, dtype) -> (n,).
    weight: None for 1, or a function (t, squares) -> w of the times and of the squared norms of
        each pair's gap, both (n,); no gradient passes through it.
    feature: None, or a linear invertible map phi of one point, in which the gap is measured;
        the minimiser stays E[v_t | x_t].

    Source: sheet of arXiv 2506.05526, section 3.7; weight and feature: arXiv 2410.07815.
    """

    path: Callable = LinearPath()
    times: Callable = uniform
    weight: Callable | None = None
    feature: Callable | None = None

    def __call__(self, key, model, x0: Array, x1: Array, condition=None) -> Float[Array, ""]:
        """The loss of paired points, shape (n, ...) both, with one label each when conditional."""
        check_pair(x0, x1)
        t = self.times(key, len(x0), x0.dtype)
        x_t, v_t = jax.vmap(self.path)(t, x0, x1)
        gap = velocities(model, t, x_t, condition) - v_t
        if self.feature is not None:
            gap = jax.vmap(self.feature)(gap)
        squares = jnp.sum(gap.reshape(len(x0), -1) ** 2, axis=1)
        if self.weight is None:
            return jnp.sum(squares) / len(x0)
        return jnp.sum(jax.lax.stop_gradient(self.weight(t, squares)) * squares) / len(x0)


def velocities(model, t, x, condition=None) -> Array:
    """The model at every row of times t (n,), points x (n, ...) and, when given, conditions."""
    rows = (t, x) if condition is None else (t, x, condition)
    return jax.vmap(model)(*rows)
