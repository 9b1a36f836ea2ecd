"""A small U-Net velocity for grey images, built to train in a compiled loop on two CPU cores."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.networks import positive_int, time_embedding


class Conv(eqx.Module):
    """3 x 3 convolution of one image (h, w, c), zero borders, as patches times a matrix.

    XLA on CPU runs `lax.conv_general_dilated` inside lax.scan thirty to fifty times slower
    than outside (four layers of 16 channels on 8 x 8, batch 128: 190 ms a step against
    6 ms this way, two cores), and training is one scan. Patches also batch over stacked
    models.
    """

    weight: Float[Array, "9*c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, c_in: int, c_out: int, *, scale: float = 1.0, key):
        self.weight = scale * jax.random.normal(key, (9 * c_in, c_out)) / jnp.sqrt(9.0 * c_in)
        self.bias = jnp.zeros(c_out)

    def __call__(self, x: Float[Array, "h w c_in"]) -> Float[Array, "h w c_out"]:
        h, w, _ = x.shape
        x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
        patches = jnp.concatenate(
            [x[i:i + h, j:j + w] for i in range(3) for j in range(3)], axis=-1)
        return patches @ self.weight + self.bias


class Dense(eqx.Module):
    """The same linear map at every pixel: (..., c_in) -> (..., c_out)."""

    weight: Float[Array, "c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, c_in: int, c_out: int, *, scale: float = 1.0, key):
        self.weight = scale * jax.random.normal(key, (c_in, c_out)) / jnp.sqrt(float(c_in))
        self.bias = jnp.zeros(c_out)

    def __call__(self, x):
        return x @ self.weight + self.bias


class GroupNorm(eqx.Module):
    """Zero mean and unit variance over space and within groups of channels, then an affine map."""

    gain: Float[Array, " c"]
    shift: Float[Array, " c"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, groups: int):
        self.gain, self.shift = jnp.ones(channels), jnp.zeros(channels)
        self.groups = groups

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        z = x.reshape(-1, self.groups, x.shape[-1] // self.groups)
        z = z - z.mean((0, 2), keepdims=True)
        z = z * jax.lax.rsqrt((z**2).mean((0, 2), keepdims=True) + 1e-5)
        return z.reshape(x.shape) * self.gain + self.shift


class Block(eqx.Module):
    """Residual block: norm, silu, conv, twice; time scales and shifts the second norm (FiLM)."""

    norm_in: GroupNorm
    conv_in: Conv
    film: Dense
    norm_out: GroupNorm
    conv_out: Conv
    skip: Dense | None

    def __init__(self, c_in: int, c_out: int, time_width: int, *, key):
        key_in, key_film, key_out, key_skip = jax.random.split(key, 4)
        self.norm_in, self.norm_out = GroupNorm(c_in, 4), GroupNorm(c_out, 4)
        self.conv_in = Conv(c_in, c_out, key=key_in)
        self.film = Dense(time_width, 2 * c_out, scale=0.1, key=key_film)
        self.conv_out = Conv(c_out, c_out, scale=0.1, key=key_out)
        self.skip = None if c_in == c_out else Dense(c_in, c_out, key=key_skip)

    def __call__(self, x, tau):
        z = self.conv_in(jax.nn.silu(self.norm_in(x)))
        gain, shift = jnp.split(self.film(tau), 2)
        z = self.conv_out(jax.nn.silu(self.norm_out(z) * (1 + gain) + shift))
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
    """Velocity field v(t, x) of one grey image, x of shape (h, w) or (h*w,); use jax.vmap for many.

    One block a level on the way down, one in the middle, one a level on the way up, with
    skips; sides are halved between levels, and sides that do not divide are padded with
    zeros inside and cropped again. Above 12 pixels the network reads 2 x 2 patches, one
    more halving with no work at full size: 28 x 28 images pass as 14 x 14 and 7 x 7.

    Args:
        shape: (h, w) of the images, at least 4 x 4.
        channels: channels of each level, multiples of four, the finest first.
        patch: 1 to read pixels, 2 to read 2 x 2 patches; None takes 1 up to 12 pixels a side.
        time_features: number of Fourier frequencies of t.
        key: PRNG key of the initial weights. The last layer starts at zero, so v = 0.

    Raises:
        ValueError: for channels that are not multiples of four, or an image of another shape.
    """

    time: tuple[Dense, Dense]
    conv_in: Conv
    down: list[Block]
    shrink: list[Dense]
    middle: Block
    grow: list[Dense]
    up: list[Block]
    norm: GroupNorm
    conv_out: Conv
    shape: tuple[int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    time_features: int = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int] = (8, 8), channels: tuple[int, ...] = (16, 32),
                 patch: int | None = None, time_features: int = 8, *, key):
        if len(shape) != 2 or min(shape) < 4:
            raise ValueError(f"shape must be (h, w) with sides of at least 4; got {shape}.")
        self.patch = (1 if max(shape) <= 12 else 2) if patch is None else patch
        if self.patch not in (1, 2):
            raise ValueError(f"patch must be 1 (pixels) or 2 (squares of 2 x 2); got {patch}.")
        if len(channels) < 2 or any(c < 4 or c % 4 for c in channels):
            raise ValueError("channels must name two levels or more, each a multiple of four "
                             f"(groups of the norm); got {channels}.")
        if min(shape) < self.patch * 2 ** (len(channels) - 1):
            raise ValueError(f"{len(channels)} levels halve the sides {len(channels) - 1} times "
                             f"after patches of {self.patch}; {shape} is too small. Give fewer "
                             "channels.")
        self.shape = (int(shape[0]), int(shape[1]))
        self.time_features = positive_int("time_features", time_features)
        keys = iter(jax.random.split(key, 4 * len(channels) + 4))
        width = 4 * channels[0]
        self.time = (Dense(1 + 2 * self.time_features, width, key=next(keys)),
                     Dense(width, width, key=next(keys)))
        self.conv_in = Conv(self.patch**2, channels[0], key=next(keys))
        levels = list(zip(channels[:-1], channels[1:], strict=True))
        self.down = [Block(c, c, width, key=next(keys)) for c in channels[:-1]]
        self.shrink = [Dense(4 * a, b, key=next(keys)) for a, b in levels]
        self.middle = Block(channels[-1], channels[-1], width, key=next(keys))
        self.grow = [Dense(b, 4 * a, key=next(keys)) for a, b in levels]
        self.up = [Block(2 * c, c, width, key=next(keys)) for c in channels[:-1]]
        self.norm = GroupNorm(channels[0], 4)
        self.conv_out = Conv(channels[0], self.patch**2, scale=0.0, key=next(keys))

    def __call__(self, t: Float[Array, ""], x: Array) -> Array:
        """v(t, x), in the shape of x."""
        h, w = self.shape
        if jnp.shape(x) not in ((h, w), (h * w,)):
            raise ValueError(
                f"UNet maps one image of shape {(h, w)} or {(h * w,)}; got {jnp.shape(x)}. "
                "For many images: jax.vmap(model, in_axes=(None, 0))(t, x)."
            )
        unit = self.patch * 2 ** len(self.down)
        pad = [(0, -side % unit) for side in (h, w)]
        tau = time_embedding(jnp.asarray(t, x.dtype), self.time_features)
        tau = jax.nn.silu(self.time[1](jax.nn.silu(self.time[0](tau))))
        z = jnp.pad(x.reshape(h, w, 1), [*pad, (0, 0)])
        z = self.conv_in(fold(z) if self.patch == 2 else z)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            z = block(z, tau)
            skips.append(z)
            z = shrink(fold(z))
        z = self.middle(z, tau)
        for block, grow in zip(self.up[::-1], self.grow[::-1], strict=True):
            z = block(jnp.concatenate([unfold(grow(z)), skips.pop()], axis=-1), tau)
        z = self.conv_out(jax.nn.silu(self.norm(z)))
        z = unfold(z) if self.patch == 2 else z
        return z[:h, :w, 0].reshape(x.shape)
