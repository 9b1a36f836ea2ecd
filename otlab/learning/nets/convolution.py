"""The 3 x 3 convolution and its slopes, in the one form that XLA runs fast on a CPU.

XLA brings a convolution into the form of its fast kernel (batch first, channels last) only at the
top level of a program. Inside a loop, and training is one loop, the two slopes that
`lax.conv_general_dilated` makes of itself run twenty times slower: filter slope, 32 images of
8 x 8 x 16, one core, 4.1 ms a step against 0.2. So both slopes are written out in that form here.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

FORM = ("NHWC", "HWIO", "NHWC")
# Up to FEW channels on one side, products of matrices are faster than XLA's kernel: 32 images of
# 8 x 8, 1 -> 16 channels, 0.040 ms against 0.083; 16 -> 1, 0.025 against 0.068.
FEW = 4

# From fewer than 20 channels to at most 16, XLA's kernel takes longer than to 20 (32 images of
# 8 x 8, 16 -> 16 channels: 0.152 ms against 0.113 on one core, 0.25 against 0.17 on two), so there
# it is given filters of zeros, up to WIDE of them.
NARROW, WIDE = 16, 20


def convolve(x: Float[Array, "n h w c_in"],
             weight: Float[Array, "3 3 c_in c_out"]) -> Float[Array, "n h w c_out"]:
    """Correlate n images with 3 x 3 filters, zero borders; derivatives of any order, both modes."""
    if x.ndim != 4 or weight.shape[:-1] != (3, 3, x.shape[-1]):
        raise ValueError("convolve wants x (n, h, w, c) and weight (3, 3, c, c_out); got "
                         f"{x.shape} and {weight.shape}.")
    return _convolve.bind(x, weight)


def _images(x, weight):
    """By XLA's kernel, or by products of matrices where that is faster: see FEW."""
    c_in, c_out = weight.shape[2:]
    if c_out <= FEW < c_in:
        return _images_by_shifts(x, weight)
    run = _images_by_patches if c_in <= FEW else _images_by_xla
    if FEW < c_out <= NARROW and c_in < WIDE:
        more = ((0, 0), (0, 0), (0, 0), (0, WIDE - c_out))
        return run(x, jnp.pad(weight, more))[..., :c_out]
    return run(x, weight)


def _images_by_xla(x, weight):
    return lax.conv_general_dilated(x, weight, (1, 1), ((1, 1), (1, 1)), dimension_numbers=FORM)


def _images_by_shifts(x, weight):
    """One product for all nine neighbours, then nine shifted sums of few channels."""
    n, h, w, c_in = x.shape
    taps = weight.transpose(2, 0, 1, 3).reshape(c_in, -1)
    y = jnp.pad(x @ taps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = y.reshape(n, h + 2, w + 2, 3, 3, -1)
    return sum(y[:, i:i + h, j:j + w, i, j] for i in range(3) for j in range(3))


def _filters(x, g):
    """sum_n,y x[n, y + i] g[n, y], shape (3, 3, c_in, c_out): images as channels, x as batch."""
    x, g = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    return _images_by_xla(x, g).transpose(1, 2, 0, 3)


def _turned(weight):
    return weight[::-1, ::-1].swapaxes(2, 3)


def patches(x: Float[Array, "n h w c"]) -> Float[Array, "n h w 9*c"]:
    """The 3 x 3 surroundings of every pixel, zeros outside."""
    _, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([x[:, i:i + h, j:j + w] for i in range(3) for j in range(3)], axis=-1)


def _images_by_patches(x, weight):
    return patches(x) @ weight.reshape(-1, weight.shape[-1])


def _filters_by_patches(x, g):
    return jnp.einsum("nhwp,nhwo->po", patches(x), g).reshape(3, 3, x.shape[-1], g.shape[-1])


def _images_in_batches(values, axes):
    (x, weight), (of_x, of_weight) = values, axes
    if of_weight is not None:                          # a filter each: matrices batch better
        return jax.vmap(_images_by_patches, in_axes=axes)(x, weight), 0
    x = jnp.moveaxis(x, of_x, 0)
    y = _convolve.bind(x.reshape(-1, *x.shape[2:]), weight)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


def _filters_in_batches(values, axes):
    return jax.vmap(_filters_by_patches, in_axes=axes)(*values), 0


def _primitive(name, function, shape, in_batches, slope_left, slope_right):
    """A bilinear primitive that lowers to `function`."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function))
    primitive.def_abstract_eval(lambda a, b: a.update(shape=shape(a.shape, b.shape)))
    ad.defbilinear(primitive, slope_left, slope_right)
    batching.primitive_batchers[primitive] = in_batches
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_convolve = _primitive(
    "otlab_convolve", _images, lambda x, weight: (*x[:3], weight[3]), _images_in_batches,
    lambda g, x, weight: _convolve.bind(g, _turned(weight)),
    lambda g, x, weight: _slopes.bind(x, g))
_slopes = _primitive(
    "otlab_convolve_slopes", _filters, lambda x, g: (3, 3, x[3], g[3]), _filters_in_batches,
    lambda s, x, g: _convolve.bind(g, _turned(s)),
    lambda s, x, g: _convolve.bind(x, s))
