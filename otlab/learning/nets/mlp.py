"""Multilayer perceptrons that know the time: one point in, one point out; the caller batches."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import positive_int
from otlab.learning.nets import initial


def time_embedding(t: Float[Array, ""], features: int) -> Float[Array, " 1+2*features"]:
    """(t, cos(pi k t), sin(pi k t)) for k = 1 … features.

    Half periods: cos(2 pi k t) would give t = 0 and t = 1 the same features, and
    those are the two ends of a flow.
    """
    angle = jnp.pi * jnp.arange(1, features + 1, dtype=t.dtype) * t
    return jnp.concatenate([t[None], jnp.cos(angle), jnp.sin(angle)])


class Velocity(eqx.Module):
    """Velocity field v(t, x) of one point, a silu MLP; use jax.vmap for many.

    `jax.vmap(v, in_axes=(None, 0))(t, x)` evaluates a cloud x of shape (n, d) at one
    time; `jax.vmap(v)(t, x)` takes one time per point.

    Args:
        d: dimension of the points.
        width: units per hidden layer.
        depth: number of hidden layers.
        time_features: number of Fourier frequencies of t (0 feeds t alone). None takes
            max(4, d // 8).
        classes: None, or the number of labels; the field then is v(t, x, label), with label
            `classes` for "no label" (classifier-free guidance).
        key: PRNG key of the initial weights.

    Raises:
        ValueError: for a size below one, or for a point of the wrong shape.

    Source: the synthetic network of Large Sinkhorn couplings (arXiv 2506.05526),
    5 layers of 512 with d/8 Fourier time features there, smaller here.
    """

    mlp: eqx.nn.MLP
    d: int = eqx.field(static=True)
    time_features: int = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)

    def __init__(self, d: int, width: int = 128, depth: int = 3,
                 time_features: int | None = None, classes: int | None = None, *, key):
        self.d = positive_int("d", d)
        if time_features is None:
            time_features = max(4, self.d // 8)
        self.time_features = positive_int("time_features", time_features, least=0)
        self.classes = None if classes is None else positive_int("classes", classes)
        self.mlp = initial.mlp(
            self.d + 1 + 2 * self.time_features + (self.classes or 0), self.d,
            positive_int("width", width), positive_int("depth", depth),
            activation=jax.nn.silu, key=key,
        )

    def __call__(self, t: Float[Array, ""], x: Float[Array, " d"],
                 label: Int[Array, ""] | None = None) -> Float[Array, " d"]:
        """v(t, x) for a time t in [0, 1] and a point x of shape (d,)."""
        if jnp.shape(x) != (self.d,):
            raise ValueError(
                f"Velocity maps one point of shape ({self.d},); got x of shape {jnp.shape(x)}. "
                "For many points: jax.vmap(model, in_axes=(None, 0))(t, x)."
            )
        if (label is None) != (self.classes is None):
            wants = "v(t, x)" if self.classes is None else f"a label from 0 to {self.classes}"
            raise ValueError(f"Velocity with classes={self.classes} wants {wants}; got label="
                             f"{label}.")
        t = jnp.asarray(t, x.dtype)
        inputs = [x, time_embedding(t, self.time_features)]
        if label is not None:  # "no label" is the zero vector
            inputs.append(jax.nn.one_hot(label, self.classes, dtype=x.dtype))
        return self.mlp(jnp.concatenate(inputs))
