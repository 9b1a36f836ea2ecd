"""Velocity fields whose flow is known in closed form."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array


class Affine(eqx.Module):
    """v(t, x) = A x + b."""

    A: Array
    b: Array

    def __call__(self, t, x):
        return self.A @ x + self.b


class Straight(eqx.Module):
    """Optimal flow from N(0, I) to N(m, s^2 I): x_t = (1 - t + t s) x_0 + t m, straight paths."""

    m: Array
    s: Array

    def __call__(self, t, x):
        return (self.s - 1) * (x - t * self.m) / (1 - t + t * self.s) + self.m


def rotation(angle):
    """One turn by `angle` radians over t in [0, 1], in the plane."""
    return Affine(jnp.array([[0.0, -angle], [angle, 0.0]]), jnp.zeros(2))
