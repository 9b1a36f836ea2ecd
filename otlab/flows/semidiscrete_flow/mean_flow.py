"""Mean flow: a network of average velocities, of which one step is a whole trajectory.

u(t, r, x) is the mean velocity from time t to time r >= t of the path through x at time t, so that
x_r = x_t + (r - t) u(t, r, x_t). Noise stands at t = 0 and data at t = 1; the paper runs backwards.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import check_pair, positive_int
from otlab.flows import sampling
from otlab.flows.objectives import uniform
from otlab.flows.paths import LinearPath
from otlab.learning.nets import initial
from otlab.learning.nets.mlp import time_embedding


class MeanVelocity(eqx.Module):
    """Average velocity u(t, r, x) of one point, a silu MLP; use jax.vmap for many.

    Args:
        d: dimension of the points.
        width, depth: units per hidden layer, and number of hidden layers.
        time_features: Fourier frequencies of t and, as many, of r - t. Few: the target holds a
            derivative in time. On the line, one jump after 4,000 steps has a spread of 0.43 with
            one frequency and 0.30 with four, where 0.5 is right.
        classes: None, or the number of labels; the field then is u(t, r, x, label), with label
            `classes` for "no label".
        key: PRNG key of the initial weights.
    """

    mlp: eqx.nn.MLP
    d: int = eqx.field(static=True)
    time_features: int = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)

    def __init__(self, d: int, width: int = 128, depth: int = 3,
                 time_features: int = 1, classes: int | None = None, *, key):
        self.d = positive_int("d", d)
        self.time_features = positive_int("time_features", time_features, least=0)
        self.classes = None if classes is None else positive_int("classes", classes)
        self.mlp = initial.mlp(
            self.d + 2 * (1 + 2 * self.time_features) + (self.classes or 0), self.d,
            positive_int("width", width), positive_int("depth", depth),
            activation=jax.nn.silu, key=key)

    def __call__(self, t: Float[Array, ""], r: Float[Array, ""], x: Float[Array, " d"],
                 label: Int[Array, ""] | None = None) -> Float[Array, " d"]:
        """u(t, r, x) for times 0 <= t <= r <= 1 and a point x of shape (d,)."""
        if jnp.shape(x) != (self.d,):
            raise ValueError(
                f"MeanVelocity maps one point of shape ({self.d},); got x of shape {jnp.shape(x)}. "
                "For many points: jax.vmap(model, in_axes=(None, None, 0))(t, r, x).")
        if (label is None) != (self.classes is None):
            wants = "u(t, r, x)" if self.classes is None else f"a label from 0 to {self.classes}"
            raise ValueError(f"MeanVelocity with classes={self.classes} wants {wants}; got label="
                             f"{label}.")
        t, r = jnp.asarray(t, x.dtype), jnp.asarray(r, x.dtype)
        inputs = [x, *(time_embedding(time, self.time_features) for time in (t, r - t))]
        if label is not None:
            inputs.append(jax.nn.one_hot(label, self.classes, dtype=x.dtype))
        return self.mlp(jnp.concatenate(inputs))


class Adaptive(eqx.Module):
    """Weight (squares + floor)^-power of a pair's loss: large gaps count less."""

    power: float = 1.0
    floor: float = 1e-3

    def __call__(self, t, squares):
        """Weights (n,) from the times and the squared gaps of the pairs."""
        return (squares + self.floor) ** -self.power


class MeanFlow(eqx.Module):
    r"""Mean over pairs of w |u(t, r, x_t) - sg[v_t + (r - t) d/dt u(t, r, x_t)]|^2.

    An objective of `fit.fit`. d/dt is the derivative along the pair's path, of which x moves
    with v_t and r stands: one forward derivative (a jvp along (1, 0, v_t)); sg stops gradients.
    The identity u = v + (r - t) du/dt comes from differentiating (r - t) u = int_t^r v in t. At
    r = t it is plain flow matching.

    path: position and target velocity of a pair at time t.
    times: law of both times, a function (key, n, dtype) -> (n,).
    apart: share of the pairs with r > t; the others have r = t.
    weight: None for 1, or a function (t, squares) -> w (n,), without gradient; see `Adaptive`.

    Source: arXiv 2505.13447, equations 6 to 11 (there noise is at time 1 and r <= t, and the sign
    of the derivative changes); with semidiscrete pairs: arXiv 2509.25519. The share 0.25 is the
    paper's.
    """

    path: Callable = LinearPath()
    times: Callable = uniform
    apart: float = 0.25
    weight: Callable | None = None

    def __check_init__(self):
        if not 0 <= self.apart <= 1:
            raise ValueError(f"apart is a share of the pairs, from 0 to 1; got {self.apart}.")

    def __call__(self, key, model, x0: Array, x1: Array, condition=None) -> Float[Array, ""]:
        """The loss of paired points, shape (n, ...) both, with one label each when conditional."""
        check_pair(x0, x1)
        n, dtype = len(x0), x0.dtype
        key_a, key_b, key_apart = jax.random.split(key, 3)
        a, b = self.times(key_a, n, dtype), self.times(key_b, n, dtype)
        apart = jax.random.uniform(key_apart, (n,), dtype) < self.apart
        t, r = jnp.where(apart, jnp.minimum(a, b), a), jnp.where(apart, jnp.maximum(a, b), a)
        x_t, v_t = jax.vmap(self.path)(t, x0, x1)
        labels = () if condition is None else (condition,)

        def one(t, r, x, v, *label):
            return jax.jvp(lambda t, x: model(t, r, x, *label), (t, x), (jnp.ones_like(t), v))

        u, slope = jax.vmap(one)(t, r, x_t, v_t, *labels)
        far = (r - t).reshape(-1, *(1,) * (x0.ndim - 1))
        gap = u - jax.lax.stop_gradient(v_t + far * slope)
        squares = jnp.sum(gap.reshape(n, -1) ** 2, axis=1)
        if self.weight is None:
            return jnp.sum(squares) / n
        return jnp.sum(jax.lax.stop_gradient(self.weight(t, squares)) * squares) / n


class Jump(eqx.Module):
    """The velocity (t, x) -> u(t, min(t + length, 1), x) of steps of that length.

    length = 0 is the velocity of the moment, v(t, x) = u(t, t, x), which every solver and every
    measure of this room accepts.
    """

    model: Callable
    length: Float[Array, ""]

    def __init__(self, model, length=0.0):
        self.model, self.length = model, jnp.asarray(length, jnp.float32)

    def __call__(self, t, x, *condition):
        """Mean velocity of one point over the step that begins at t."""
        t = jnp.asarray(t, x.dtype)
        return self.model(t, jnp.minimum(t + self.length.astype(x.dtype), 1), x, *condition)


def sample(model, x0: Array, *, steps: int = 1, condition=None, block: int | None = None) -> Array:
    """Carry every point of x0 from noise to data in `steps` equal jumps, one evaluation each.

    Args:
        model: average velocity u(t, r, x) of one point, or u(t, r, x, condition).
        x0: points at time 0, shape (n, ...).
        steps, condition, block: as in `sampling.sample`; a new number of steps compiles nothing.

    Raises:
        ValueError: for steps below one, an empty or non-finite x0.

    Source: arXiv 2505.13447, algorithm 2; one step is x0 + u(0, 1, x0).
    """
    length = 1 / positive_int("steps", steps)
    return sampling.sample(Jump(model, length), x0, steps=steps, condition=condition, block=block)
