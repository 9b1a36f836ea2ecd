"""Guidance: two velocities mixed, and the weights that make the mixture's samples right."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.blocks import over_rows
from otlab.core.inputs import positive_int
from otlab.flows.sampling import METHODS
from otlab.learning.loop import with_step


class Mixed(eqx.Module):
    """gamma v1(t, x) + (1 - gamma) v2(t, x): towards v1, and beyond it for gamma > 1.

    Source: classifier-free guidance, arXiv 2207.12598, with v1 conditional and v2 not.
    """

    first: Callable
    second: Callable
    gamma: Float[Array, ""]

    def __init__(self, first, second, gamma):
        self.first, self.second, self.gamma = first, second, jnp.asarray(gamma, jnp.float32)

    def both(self, t, x, *condition):
        """(mixture, v1 - v2) at one point, from one evaluation of each."""
        first, second = self.first(t, x, *condition), self.second(t, x, *condition)
        return second + self.gamma.astype(x.dtype) * (first - second), first - second

    def __call__(self, t, x, *condition):
        """The mixed velocity of one point."""
        return self.both(t, x, *condition)[0]


class Unlabelled(eqx.Module):
    """A conditional velocity that is always asked for "no label", which is label `classes`."""

    model: Callable
    classes: Int[Array, ""]

    def __init__(self, model, classes: int):
        self.model, self.classes = model, jnp.asarray(positive_int("classes", classes))

    def __call__(self, t, x, label):
        """v(t, x, no label), whatever the label."""
        return self.model(t, x, jnp.broadcast_to(self.classes, jnp.shape(label)))


class LabelDropout(eqx.Module):
    """An objective that hides each label with probability `share`, so that one network learns both.

    objective: (key, model, x0, x1, labels) -> scalar.  classes: the label of "no label".
    """

    objective: Callable
    classes: int = eqx.field(static=True)
    share: float = 0.1

    def __call__(self, key, model, x0, x1, labels, *, step=None) -> Float[Array, ""]:
        """The objective, with some labels replaced."""
        key_drop, key = jax.random.split(key)
        hidden = jax.random.bernoulli(key_drop, self.share, jnp.shape(labels))
        shown = jnp.where(hidden, self.classes, labels)
        return with_step(self.objective, step)(key, model, x0, x1, shown)


def odds(t):
    """t / (1 - t): from velocity to score, s1 - s2 = t (v1 - v2) / (1 - t); zero noise at t = 1."""
    return t / (1 - t)


class Corrected(eqx.Module):
    """One draw out of r candidates for each sample.

    x: the draws, shape (n, ...).   candidates: what the mixed velocity made, shape (n, r, ...).
    log_weights: of the candidates, up to a constant, shape (n, r).
    effective: (sum w)^2 / sum w^2, shape (n,): how many of the r count, from 1 to r.
    """

    x: Array
    candidates: Array
    log_weights: Float[Array, "n r"]
    effective: Float[Array, " n"]


def corrected(key, first, second, x0: Array, *, gamma, steps: int, method: str = "midpoint",
              factor: Callable = odds, condition=None, block: int = 1024) -> Corrected:
    r"""Samples of rho1^gamma rho2^(1 - gamma), normalised, as r grows; r = 1 is plain guidance.

    Each of n samples sends r noises along the mixed velocity and keeps one, drawn with the
    weights exp w, w = gamma (gamma - 1) int_0^1 t / (1 - t) |v1 - v2|^2 dt. Along the mixture
    d/dt log(rho1^gamma rho2^(1 - gamma)) = -div v + gamma (gamma - 1) <v1 - v2, s1 - s2>, and the
    scores differ by t (v1 - v2) / (1 - t) when Tweedie's formula needs no correction: for
    independent couplings exactly, for semidiscrete ones at epsilon = 0 inside the cells only.

    Args:
        key: PRNG key of the draws.
        first, second: velocities v1, v2 of one point, from one noise law N(0, I).
        x0: noise, shape (n, r, ...): r candidates for each of n samples.
        gamma: weight of the first; the product must have a finite integral at every time.
        steps, method: equal steps by "euler" or "midpoint", which never ask for t = 1.
        factor: of |v1 - v2|^2, a function of t. (1 - t) / t is the same in time that runs from
            data to noise, and wrong here; it is also right for |s1 - s2|^2.
        condition: None, or what each sample is conditioned on, shape (n,).
        block: trajectories integrated at once.

    Raises:
        ValueError: for noise without an axis of candidates, or another method.

    Source: arXiv 2509.25519, proposition 4 (Feynman-Kac weights), in time from noise to data.
    """
    if method not in ("euler", "midpoint"):
        raise ValueError(f'method must be "euler" or "midpoint", whose stages stay below t = 1; '
                         f"got {method!r}.")
    if jnp.ndim(x0) < 3 or jnp.size(x0) == 0:
        raise ValueError(f"corrected wants noise of shape (n, r, ...), r candidates a sample; got "
                         f"{jnp.shape(x0)}. For plain guidance: x0[:, None].")
    mixed = Mixed(first, second, gamma)
    return _corrected(key, mixed, x0, condition, jnp.asarray(positive_int("steps", steps)),
                      METHODS[method], factor, positive_int("block", block))


@eqx.filter_jit
def _corrected(key, mixed, x0, condition, steps, stepper, factor, block):
    n, r = x0.shape[:2]
    flat = x0.reshape(n * r, *x0.shape[2:])
    rows = (flat,) if condition is None else (flat, jnp.repeat(condition, r, axis=0))
    dt = 1 / steps.astype(x0.dtype)
    scale = (mixed.gamma * (mixed.gamma - 1)).astype(x0.dtype)

    def one(x, *label):

        def flow(t, state):
            v, gap = mixed.both(t, state.x, *label)
            return Weighted(v, scale * factor(t) * jnp.sum(gap**2))

        def body(k, state):
            return stepper(flow, k.astype(dt.dtype) * dt, state, dt)

        start = Weighted(x, jnp.zeros((), x.dtype))
        return jax.lax.fori_loop(jnp.zeros_like(steps), steps, body, start)

    end = over_rows(jax.vmap(one), block, *rows)
    candidates, log_w = end.x.reshape(x0.shape), end.log_weight.reshape(n, r)
    chosen = jax.random.categorical(key, log_w, axis=1)
    w = jax.nn.softmax(log_w, axis=1)
    x = jax.vmap(lambda c, j: c[j])(candidates, chosen)
    return Corrected(x, candidates, log_w, 1 / jnp.sum(w**2, axis=1))


class Weighted(eqx.Module):
    """A point and the logarithm of its weight, with the sums and multiples that solvers use."""

    x: Array
    log_weight: Array

    def __add__(self, other):
        return jax.tree.map(jnp.add, self, other)

    def __rmul__(self, factor):
        return jax.tree.map(lambda a: factor * a, self)
