"""Pairs that a flow makes itself: noise with its image, images with their noise, and mixtures."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import check_pair, known, number, positive_int
from otlab.flows.sampling import sample
from otlab.learning.loop import Step


def generated_pairs(key, model, n: int, shape: tuple[int, ...], *, steps: int, method="euler"):
    """(noise, what the flow makes of it), both (n, *shape): ReFlow's coupling, as data.

    Too few steps bake the solver's error into the pairs. Give an image set's pairs the steps
    at which quality no longer improves. Called backward pairs in arXiv 2410.07815, where data
    stand at t = 0.
    """
    x0 = jax.random.normal(key, (positive_int("n", n), *shape))
    return x0, sample(model, x0, steps=steps, method=method)


def inverted_pairs(model, data: Array, *, steps: int, method="euler"):
    """(noise that the flow carries to it, datum), both of the shape of data (n, ...).

    The flow runs from t = 1 back to 0. Real data stand on one end; the other is only as
    Gaussian as the flow is right: look at it before you trust it (`projection.whiten`).
    Called forward pairs in arXiv 2410.07815.
    """
    data = jnp.asarray(data)
    return sample(model, data, steps=steps, method=method, start=1.0, stop=0.0), data


def blur_noise(key, x0: Array, beta) -> Array:
    """sqrt(1 - beta^2) x0 + beta x', x' fresh: standard normal again when x0 is.

    beta 1 forgets the pairing (flow matching), 0 keeps it (ReFlow); the correlation with x0 is
    sqrt(1 - beta^2). Source: Zhu et al. (2024), arXiv 2407.12718, annealing ReFlow.
    """
    beta = jnp.asarray(beta, x0.dtype)
    return jnp.sqrt(1 - beta**2) * x0 + beta * jax.random.normal(key, x0.shape, x0.dtype)


class Mixture(eqx.Module):
    """Draws a batch of generated and inverted pairs; a pytree, so new pairs compile nothing.

    Args:
        generated: (x0, x1), each (n, ...).
        inverted: None, or (x0, x1) of the same kind of points, (m, ...).
        share: of the inverted pairs in a batch, 0 to 1; each row is drawn apart.
        batch: rows a batch.
        anneal: number of steps over which the noise end is blurred less and less, beta falling
            from 1 to 0; 0 never blurs.

    Raises:
        ValueError: for unpaired arrays, points of two shapes, a share outside of [0, 1] or one
            that no inverted pair can fill.
    """

    generated: tuple[Array, Array]
    inverted: tuple[Array, Array]
    share: Float[Array, ""]
    anneal: Float[Array, ""]
    batch: int = eqx.field(static=True)

    def __init__(self, generated, inverted=None, *, share=0.0, batch: int, anneal=0):
        check_pair(*generated)
        number("share", share, lambda v: (v >= 0) & (v <= 1), "between 0 and 1")
        if inverted is None:
            if known(share) and share > 0:
                raise ValueError(f"share={share} of a batch should be inverted pairs, and there "
                                 "are none; pass inverted=inverted_pairs(...).")
            inverted = tuple(x[:1] for x in generated)
        check_pair(*inverted)
        if inverted[0].shape[1:] != generated[0].shape[1:]:
            raise ValueError(f"generated and inverted pairs hold points of one shape; got "
                             f"{generated[0].shape[1:]} and {inverted[0].shape[1:]}.")
        number("anneal", anneal, lambda v: v >= 0, "a number of steps, 0 for none")
        self.generated, self.inverted = tuple(generated), tuple(inverted)
        self.share = jnp.asarray(share, jnp.float32)
        self.anneal = jnp.asarray(anneal, jnp.float32)
        self.batch = positive_int("batch", batch)

    def beta(self, count) -> Float[Array, ""]:
        """How blurred the noise end is at this step: max(0, 1 - count / anneal)."""
        left = 1 - jnp.asarray(count).astype(jnp.float32) / jnp.maximum(self.anneal, 1)
        return jnp.where(self.anneal > 0, jnp.maximum(left, 0), 0)

    def __call__(self, key, *, step: Step | None = None):
        """(x0, x1), shape (batch, ...) each. step: where the run is; None is its first step."""
        key_kind, key_generated, key_inverted, key_noise = jax.random.split(key, 4)
        from_data = jax.random.uniform(key_kind, (self.batch,)) < self.share
        ends = []
        rows = [jax.random.randint(k, (self.batch,), 0, len(pairs[0])) for k, pairs in
                ((key_generated, self.generated), (key_inverted, self.inverted))]
        for made, real in zip(self.generated, self.inverted, strict=True):
            which = from_data.reshape(-1, *[1] * (made.ndim - 1))
            ends.append(jnp.where(which, real[rows[1]], made[rows[0]]))
        return blur_noise(key_noise, ends[0], self.beta(0 if step is None else step.count)), ends[1]
