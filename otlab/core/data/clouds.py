"""The clouds that chapters share: a Gaussian, eight Gaussians on a circle, two moons."""

from functools import partial

import jax
import jax.numpy as jnp


def _count(n: int) -> int:
    if n < 1:
        raise ValueError(f"a cloud needs n ≥ 1 points; got n={n}.")
    return n


@partial(jax.jit, static_argnames=("n", "d"))
def gaussian(key, n: int, d: int = 2) -> jax.Array:
    """n standard normal points in d dimensions, shape (n, d)."""
    return jax.random.normal(key, (_count(n), d))


@partial(jax.jit, static_argnames="n")
def eight_gaussians(key, n: int, radius: float = 2.5, scale: float = 0.25) -> jax.Array:
    """n points from eight equal Gaussians on a circle, shape (n, 2)."""
    key_which, key_noise = jax.random.split(key)
    angle = jax.random.randint(key_which, (_count(n),), 0, 8).astype(jnp.float32) * (jnp.pi / 4)
    centre = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return centre + scale * jax.random.normal(key_noise, (n, 2))


@partial(jax.jit, static_argnames="n")
def two_moons(key, n: int, noise: float = 0.08, scale: float = 1.6) -> jax.Array:
    """n points on two interleaved half circles, centred, shape (n, 2)."""
    key_which, key_angle, key_noise = jax.random.split(key, 3)
    upper = jax.random.bernoulli(key_which, 0.5, (_count(n),))
    angle = jax.random.uniform(key_angle, (n,), maxval=jnp.pi)
    p = jnp.stack([jnp.where(upper, jnp.cos(angle), 1 - jnp.cos(angle)) - 0.5,
                   jnp.where(upper, jnp.sin(angle), 0.5 - jnp.sin(angle)) - 0.25], axis=1)
    return scale * (p + noise * jax.random.normal(key_noise, (n, 2)))
