"""A U-Net velocity for grey and colour images, small enough to train on two CPU cores."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import positive_int
from otlab.learning.nets import initial
from otlab.learning.nets.convolution import convolve
from otlab.learning.nets.dense import Dense
from otlab.learning.nets.mlp import time_embedding


class Conv(eqx.Module):
    """3 x 3 convolution of one image (h, w, c), zero borders.

    On a CPU by `convolution.convolve`, whose slopes are fast inside the loop of training;
    elsewhere by XLA's own.
    """

    weight: Float[Array, "9*c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, c_in: int, c_out: int, *, scale: float = 1.0, key):
        self.weight = initial.normal(key, (9 * c_in, c_out), scale=scale, inputs=9 * c_in)
        self.bias = initial.zeros(c_out)

    def __call__(self, x: Float[Array, "h w c_in"]) -> Float[Array, "h w c_out"]:
        run = convolve if jax.default_backend() == "cpu" else by_xla
        return run(x[None], self.weight.reshape(3, 3, x.shape[-1], -1))[0] + self.bias


def by_xla(x, weight):
    """What `convolve` computes, by `lax.conv_general_dilated` and its own derivatives."""
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME",
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))


class GroupNorm(eqx.Module):
    """Zero mean and unit variance over space and within groups of channels, then an affine map."""

    gain: Float[Array, " c"]
    shift: Float[Array, " c"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, groups: int):
        self.gain, self.shift = initial.ones(channels), initial.zeros(channels)
        self.groups = groups

    def __call__(self, x: Float[Array, "h w c"], gain=1.0, shift=0.0) -> Float[Array, "h w c"]:
        """Normalise x, then the affine map of the weights, then `gain` and `shift`, each (c,).

        All three are one factor and one term a channel, `made_once` before the pass over pixels.
        """
        # Sums over space first: they run along channels, which is how memory lies.
        size = x.shape[-1] // self.groups
        z = x.reshape(-1, x.shape[-1])

        def mean(z):
            of_groups = z.sum(0).reshape(self.groups, size).sum(1) / (len(z) * size)
            return jnp.repeat(of_groups, size)

        # One pass for both moments, about a value of each group: about zero they would cancel
        # where a mean is a thousand times its spread.
        about = jnp.repeat(z[0].reshape(self.groups, size).mean(1), size)
        about = jax.lax.stop_gradient(about)             # the outcome does not depend on it
        moved = z - made_once(about)
        centre = mean(moved)
        variance = jnp.maximum(mean(moved**2) - centre**2, 0.0)
        factor = jax.lax.rsqrt(variance + 1e-5) * self.gain
        term = (self.shift - (about + centre) * factor) * gain + shift
        return (z * made_once(factor * gain) + made_once(term)).reshape(x.shape)


def made_once(v: Float[Array, " c"]) -> Float[Array, " c"]:
    """v itself, kept out of the loop over pixels that uses it.

    On a CPU, XLA would fuse all that makes v into that loop, which then runs on single numbers,
    five times as slowly. It fuses no product of matrices, so this is one, with the identity.
    """
    if jax.default_backend() != "cpu":
        return v
    return jnp.matmul(v, jnp.eye(len(v), dtype=v.dtype), precision="highest")


class Block(eqx.Module):
    """Residual block: norm, silu, conv, twice; tau scales and shifts the second norm (FiLM)."""

    norm_in: GroupNorm
    conv_in: Conv
    film: Dense
    norm_out: GroupNorm
    conv_out: Conv
    skip: Dense | None

    def __init__(self, c_in: int, c_out: int, time_width: int, *, key):
        key_in, key_film, key_out, key_skip = initial.split(key, 4)
        self.norm_in, self.norm_out = GroupNorm(c_in, 4), GroupNorm(c_out, 4)
        self.conv_in = Conv(c_in, c_out, key=key_in)
        self.film = Dense(time_width, 2 * c_out, scale=0.1, key=key_film)
        self.conv_out = Conv(c_out, c_out, scale=0.1, key=key_out)
        self.skip = None if c_in == c_out else Dense(c_in, c_out, key=key_skip)

    def __call__(self, x, tau):
        z = self.conv_in(jax.nn.silu(self.norm_in(x)))
        gain, shift = jnp.split(self.film(tau), 2)
        z = self.conv_out(jax.nn.silu(self.norm_out(z, 1 + gain, shift)))
        return z + (x if self.skip is None else self.skip(x))


def fold(x: Float[Array, "h w c"]) -> Float[Array, "h/2 w/2 4*c"]:
    """Halve the sides: a 2 x 2 square of pixels becomes one pixel of four times the channels."""
    h, w, c = x.shape
    squares = x.reshape(h // 2, 2, w // 2, 2, c).transpose(0, 2, 1, 3, 4)
    return squares.reshape(h // 2, w // 2, 4 * c)


def unfold(x: Float[Array, "h w 4*c"]) -> Float[Array, "2*h 2*w c"]:
    """Undo `fold`."""
    h, w, c = x.shape
    return x.reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)


class UNet(eqx.Module):
    """Velocity field v(t, x) of one image; use jax.vmap for many.

    x of shape (h, w), (h, w, c) or flat. `blocks` residual blocks a level on the way down, one
    in the middle, `blocks` a level on the way up, with skips; sides are halved between levels,
    and sides that do not divide are padded with zeros inside and cropped again. Above 12
    pixels the network reads 2 x 2 patches, one more halving with no work at full size: 28 x 28
    images pass as 14 x 14 and 7 x 7.

    Args:
        shape: (h, w) of grey images or (h, w, c), sides of at least 4.
        channels: channels of each level, multiples of four, the finest first.
        patch: 1 to read pixels, 2 to read 2 x 2 patches; None takes 1 up to 12 pixels a side.
        time_features: number of Fourier frequencies of t.
        classes: None, or the number of labels; the field then is v(t, x, label), with label
            `classes` for "no label" (classifier-free guidance).
        blocks: residual blocks of each level, each way.
        key: PRNG key of the initial weights. The last layer starts at zero, so v = 0.

    Raises:
        ValueError: for channels that are not multiples of four, an image of another shape, or
            a label missing or unwanted.
    """

    time: tuple[Dense, Dense]
    label: Float[Array, "classes width"] | None
    conv_in: Conv
    down: list[Block]
    shrink: list[Dense]
    middle: Block
    grow: list[Dense]
    up: list[Block]
    norm: GroupNorm
    conv_out: Conv
    shape: tuple[int, ...] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    time_features: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...] = (8, 8), channels: tuple[int, ...] = (16, 32),
                 patch: int | None = None, time_features: int = 8, classes: int | None = None,
                 blocks: int = 1, *, key):
        self.shape, side = image_shape(shape), max(shape[:2])
        self.patch = (1 if side <= 12 else 2) if patch is None else patch
        if self.patch not in (1, 2):
            raise ValueError(f"patch must be 1 (pixels) or 2 (squares of 2 x 2); got {patch}.")
        if len(channels) < 2 or any(c < 4 or c % 4 for c in channels):
            raise ValueError("channels must name two levels or more, each a multiple of four "
                             f"(groups of the norm); got {channels}.")
        if min(shape[:2]) < self.patch * 2 ** (len(channels) - 1):
            raise ValueError(f"{len(channels)} levels halve the sides {len(channels) - 1} times "
                             f"after patches of {self.patch}; {shape} is too small. Give fewer "
                             "channels.")
        self.time_features = positive_int("time_features", time_features)
        self.blocks = positive_int("blocks", blocks)
        keys = iter(initial.split(key, 4 * self.blocks * len(channels) + 4))
        width, colours = 4 * channels[0], self.shape[2] if len(self.shape) == 3 else 1
        self.time = (Dense(1 + 2 * self.time_features, width, key=next(keys)),
                     Dense(width, width, key=next(keys)))
        self.conv_in = Conv(self.patch**2 * colours, channels[0], key=next(keys))
        levels = list(zip(channels[:-1], channels[1:], strict=True))
        more = range(self.blocks - 1)
        self.down = [Block(c, c, width, key=next(keys)) for c in channels[:-1]
                     for _ in range(self.blocks)]
        self.shrink = [Dense(4 * a, b, key=next(keys)) for a, b in levels]
        self.middle = Block(channels[-1], channels[-1], width, key=next(keys))
        self.grow = [Dense(b, 4 * a, key=next(keys)) for a, b in levels]
        self.up = [Block(a, c, width, key=next(keys)) for c in channels[:-1]
                   for a in (2 * c, *(c for _ in more))]
        self.norm = GroupNorm(channels[0], 4)
        self.conv_out = Conv(channels[0], self.patch**2 * colours, scale=0.0, key=next(keys))
        self.label = None
        if classes is not None:
            shape = (positive_int("classes", classes), width)
            self.label = initial.normal(jax.random.fold_in(key, 1), shape)

    def __call__(self, t: Float[Array, ""], x: Array, label: Int[Array, ""] | None = None) -> Array:
        """v(t, x) or v(t, x, label), in the shape of x."""
        check_image("UNet", x, self.shape)
        classes = None if self.label is None else len(self.label)
        if (label is None) != (classes is None):
            wants = "v(t, x)" if classes is None else f"a label from 0 to {classes}"
            raise ValueError(f"UNet with classes={classes} wants {wants}; got label={label}.")
        h, w = self.shape[:2]
        unit = self.patch * 2 ** len(self.shrink)
        pad = [(0, -side % unit) for side in (h, w)]
        tau = time_embedding(jnp.asarray(t, x.dtype), self.time_features)
        tau = self.time[1](jax.nn.silu(self.time[0](tau)))
        if label is not None:  # "no label" adds zero
            tau = tau + jax.nn.one_hot(label, classes, dtype=x.dtype) @ self.label
        tau = jax.nn.silu(tau)
        z = jnp.pad(x.reshape(h, w, -1), [*pad, (0, 0)])
        z = self.conv_in(fold(z) if self.patch == 2 else z)
        skips = []
        for level, shrink in enumerate(self.shrink):
            for block in self._of(self.down, level):
                z = block(z, tau)
            skips.append(z)
            z = shrink(fold(z))
        z = self.middle(z, tau)
        for level, grow in reversed(list(enumerate(self.grow))):
            z = jnp.concatenate([unfold(grow(z)), skips.pop()], axis=-1)
            for block in self._of(self.up, level):
                z = block(z, tau)
        z = self.conv_out(jax.nn.silu(self.norm(z)))
        z = unfold(z) if self.patch == 2 else z
        return z[:h, :w].reshape(x.shape)

    def _of(self, blocks, level):
        return blocks[level * self.blocks:(level + 1) * self.blocks]


def image_shape(shape) -> tuple[int, ...]:
    """(h, w) or (h, w, c) as ints, or a sentence."""
    if len(shape) not in (2, 3) or min(shape[:2]) < 4 or min(shape) < 1:
        raise ValueError("shape must be (h, w) or (h, w, c) with sides of at least 4; got "
                         f"{shape}.")
    return tuple(int(side) for side in shape)


def check_image(name: str, x, shape: tuple[int, ...]):
    """Refuse what is not one image of that shape, flat or not."""
    if jnp.shape(x) not in (shape, (math.prod(shape),)):
        raise ValueError(
            f"{name} maps one image of shape {shape} or {(math.prod(shape),)}; got "
            f"{jnp.shape(x)}. For many images: jax.vmap(model, in_axes=(None, 0))(t, x)."
        )
