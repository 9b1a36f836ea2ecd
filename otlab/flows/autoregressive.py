"""An autoregressive normalising flow: exact likelihood at once, exact inverse patch by patch."""

import math
from functools import lru_cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from otlab.core.blocks import over_rows
from otlab.core.inputs import number, positive_int
from otlab.flows.causal import CausalMLP, CausalTransformer
from otlab.flows.measures.likelihood import standard_normal
from otlab.learning.fit import stack
from otlab.learning.nets import initial


class AutoregressiveFlow(eqx.Module):
    r"""Blocks of causal affine maps, from data x to a code z, in alternating order of patches.

    .. math:: y_i = (x_i - b_i(x_{<i}))\, e^{-a_i(x_{<i})}, \qquad
              \log|\det \partial y / \partial x| = -\sum_i 1^\top a_i

    with a = limit * tanh(a' / limit), since a single wild scale ends a training run in float32.
    The first patch of a block has a learned affine map of its own. A fresh flow is the identity.
    One point at a time; `encode`, `decode` and `log_likelihood` take many.

    blocks: conditioners (`causal.CausalMLP`, `causal.CausalTransformer`), stacked leaf by leaf.
    shape: of a point, (d,) or (h, w).   patch: numbers in a patch, or the side of its square.
    limit: the largest |a|.

    Source: TarFlow (Zhai et al., 2024, arXiv 2412.06329); bound on a: sheet of arXiv 2603.09014,
    section 3.1. There the first patch of a block stays as it is.
    """

    blocks: eqx.Module
    shape: tuple[int, ...] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    limit: float = eqx.field(static=True)

    def __call__(self, x: Array, label=None) -> tuple[Array, Float[Array, ""]]:
        """(code, log|det|) of one point: every patch at once, block after block."""
        self._check(x)
        arrays, static = eqx.partition(self.blocks, eqx.is_array)

        def body(carry, arrays):
            h, log_det = carry
            a, b = self._affine(eqx.combine(arrays, static)(h, label), axis=1)
            return (((h - b) * jnp.exp(-a))[::-1], log_det - a.sum()), None

        start = self._cut(x), jnp.zeros((), x.dtype)
        (h, log_det), _ = jax.lax.scan(body, start, arrays)
        return self._paste(self._upright(h)), log_det

    def inverse(self, z: Array, label=None) -> Array:
        """The point whose code is z: block after block from the last, each patch by patch."""
        self._check(z)
        arrays, static = eqx.partition(self.blocks, eqx.is_array)

        def body(h, arrays):
            net, h = eqx.combine(arrays, static), h[::-1]

            def next_patch(carry, given):
                (memory, last), (i, y) = carry, given
                memory, out = net.one(memory, i, last, label)
                a, b = self._affine(out, axis=0)
                x = y * jnp.exp(a) + b
                return (memory, x), x

            start = net.start(), jnp.zeros_like(h[0])
            return jax.lax.scan(next_patch, start, (jnp.arange(len(h)), h))[1], None

        h, _ = jax.lax.scan(body, self._upright(self._cut(z)), arrays, reverse=True)
        return self._paste(h)

    @property
    def patches(self) -> int:
        """Patches of a point, which `inverse` must walk through one after the other."""
        return len(_places(self.shape, self.patch))

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(jax.tree.leaves(eqx.filter(self.blocks, eqx.is_array))[0])

    def _affine(self, out, axis):
        a, b = jnp.moveaxis(out, axis, 0)
        return self.limit * jnp.tanh(a / self.limit), b

    def _upright(self, h):
        """Every block turned the order round once; an odd number of them leaves it turned."""
        return h[::-1] if self.depth % 2 else h

    def _cut(self, x):
        return x.reshape(-1)[_places(self.shape, self.patch)]

    def _paste(self, h):
        order = np.argsort(_places(self.shape, self.patch).reshape(-1))
        return h.reshape(-1)[order].reshape(self.shape)

    def _check(self, x):
        if jnp.shape(x) != self.shape:
            raise ValueError(f"the flow maps one point of shape {self.shape}; got "
                             f"{jnp.shape(x)}. For many points: encode(flow, x).")


@lru_cache
def _places(shape: tuple[int, ...], patch: int) -> np.ndarray:
    """Where the numbers of every patch stand in a flat point, shape (T, p)."""
    places = np.arange(math.prod(shape)).reshape(shape)
    if len(shape) == 1:
        return places.reshape(-1, patch)
    h, w = shape
    squares = places.reshape(h // patch, patch, w // patch, patch).swapaxes(1, 2)
    return squares.reshape(-1, patch * patch)


def planar_flow(d: int = 2, *, blocks: int = 8, width: int = 48, depth: int = 2,
                limit: float = 3.0, key) -> AutoregressiveFlow:
    """A flow of points (d,), a coordinate at a time, conditioned by MLPs.

    Args:
        d: dimension, at least 2.
        blocks, width, depth: causal maps, and units and hidden layers of the MLP in each.
        limit: the largest |log-scale| of a block.
        key: PRNG key of the initial weights, of which the flow, the identity, shows nothing.
    """
    d = positive_int("d", d, least=2)
    keys = initial.split(key, positive_int("blocks", blocks))
    nets = stack([CausalMLP(d, 1, width, depth, key=k) for k in keys])
    return AutoregressiveFlow(nets, (d,), 1, _limit(limit))


def patch_flow(shape: tuple[int, int] = (8, 8), patch: int = 2, *, blocks: int = 4,
               layers: int = 2, width: int = 48, heads: int = 4, classes: int | None = None,
               limit: float = 3.0, key) -> AutoregressiveFlow:
    """A flow of grey images (h, w), a square of patch x patch pixels at a time, row by row.

    Args:
        shape, patch: of the images, and the side of a patch, which divides both sides.
        blocks: causal maps.   layers, width, heads: of the transformer in each.
        classes: None, or the number of labels; every call then wants a label.
        limit: the largest |log-scale| of a block.
        key: PRNG key of the initial weights.

    Raises:
        ValueError: for a patch that does not divide the image.
    """
    patch = positive_int("patch", patch)
    if len(shape) != 2 or shape[0] % patch or shape[1] % patch or shape == (patch, patch):
        raise ValueError(f"patch must divide both sides of an image (h, w) into two patches or "
                         f"more; got patch={patch} and shape={shape}.")
    count = shape[0] * shape[1] // patch**2
    keys = initial.split(key, positive_int("blocks", blocks))
    nets = stack([CausalTransformer(count, patch**2, width, layers, heads, classes, key=k)
                  for k in keys])
    return AutoregressiveFlow(nets, (int(shape[0]), int(shape[1])), patch, _limit(limit))


def _limit(limit) -> float:
    if not limit > 0:
        raise ValueError(f"limit, the largest |log-scale|, must be positive; got {limit}.")
    return float(limit)


@eqx.filter_jit
def encode(flow: AutoregressiveFlow, x: Array, labels=None, *, block: int = 512):
    """(codes, log|det|) of points x (n, ...): one pass, `block` of them at a time."""
    return over_rows(jax.vmap(flow), block, *_rows(x, labels))


@eqx.filter_jit
def decode(flow: AutoregressiveFlow, z: Array, labels=None, *, block: int = 512) -> Array:
    """The points of codes z (n, ...), undoing `encode`: T patches in turn in every block."""
    return over_rows(jax.vmap(flow.inverse), block, *_rows(z, labels))


@eqx.filter_jit
def log_likelihood(flow: AutoregressiveFlow, x: Array, labels=None, *,
                   block: int = 512) -> Float[Array, " n"]:
    """log p(x) = log N(z; 0, I) + log|det|, exact, in nats, of points x (n, ...)."""
    return over_rows(jax.vmap(partial(_log_p, flow)), block, *_rows(x, labels))


@eqx.filter_jit
def denoise(flow: AutoregressiveFlow, y: Array, labels=None, *, eta,
            block: int = 512) -> Array:
    """Tweedie's step y + eta^2 grad log p(y), for a flow trained on data with noise of level eta.

    The mean of the clean point given the noisy one, if p is the law of the noisy points. A
    teacher's own samples need it; a student's do not.

    Source: TarFlow (arXiv 2412.06329); sheet of arXiv 2603.09014, section 3.1.
    """
    slope = jax.grad(_log_p, argnums=1)

    def step(row, *label):
        return row + (eta**2 * slope(flow, row, *label)).astype(y.dtype)

    return over_rows(jax.vmap(step), block, *_rows(y, labels))


def _log_p(flow, x, label=None):
    z, log_det = flow(x, label)
    return standard_normal(z.reshape(-1)) + log_det


def _rows(x, labels):
    return (x,) if labels is None else (x, labels)


class Likelihood(eqx.Module):
    """Mean over noisy data of |z|^2 / 2 - log|det|, a number of the point: a training objective.

    It is the negative log-likelihood less log(2 pi) / 2. For `fit.fit` with batches (x,) or
    (x, labels), such as `Batches` draws; never give it clean data that lie on a thin set, whose
    likelihood has no bound.

    eta: standard deviation of the noise added to the data, fresh in every step.
    """

    eta: Float[Array, ""] | float

    def __check_init__(self):
        number("eta, the level of the noise,", self.eta, lambda eta: eta >= 0, "at least 0")

    def __call__(self, key, flow, x: Array, labels=None) -> Float[Array, ""]:
        """The loss of a batch x (n, ...), in nats a number."""
        noise = jax.random.normal(key, x.shape, x.dtype)
        noisy = x + jnp.asarray(self.eta, x.dtype) * noise
        z, log_det = jax.vmap(flow)(*_rows(noisy, labels))
        return (jnp.sum(z**2) / 2 - log_det.sum()) / x.size


class Batches(eqx.Module):
    """Draws (x,) or (x, labels), `batch` rows of the data; for `fit.fit` of one distribution."""

    data: Float[Array, "m ..."]
    labels: Array | None
    batch: int = eqx.field(static=True)

    def __call__(self, key):
        """Rows drawn with replacement."""
        rows = jax.random.randint(key, (self.batch,), 0, len(self.data))
        return _rows(self.data[rows], None if self.labels is None else self.labels[rows])
