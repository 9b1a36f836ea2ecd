"""A small pre-norm transformer: the caller gives the mask; keys and values are kept for sampling.

One sequence of tokens (T, width) in, one out; jax.vmap for many. What comes before (embeddings,
positions) and after (a head) is the caller's. It computes in the type of the tokens, whatever
that of the weights; means, norms and softmax are never below float32.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from otlab.core.inputs import known, positive_int
from otlab.learning.nets import initial
from otlab.learning.nets.attention import at_least_float32, attend
from otlab.learning.nets.dense import Dense

EPSILON = 1e-5  # under the root of every norm


class Norm(eqx.Module):
    """x over its root mean square along the last axis, then gain and shift where there are any.

    kind: "rms", or "layer", which takes the mean out first.
    gain, shift: None, or of shape (width,).
    """

    gain: Float[Array, " width"] | None
    shift: Float[Array, " width"] | None
    kind: str = eqx.field(static=True)

    def __init__(self, kind: str, width: int = 0, *, gain: bool = False, shift: bool = False):
        self.kind = _one_of("norm", kind, ("layer", "rms"))
        self.gain = initial.ones(width) if gain else None
        self.shift = initial.zeros(width) if shift and kind == "layer" else None

    def __call__(self, x):
        z = x.astype(at_least_float32(x.dtype))
        if self.kind == "layer":
            z = z - z.mean(-1, keepdims=True)
        z = (z * jax.lax.rsqrt((z**2).mean(-1, keepdims=True) + EPSILON)).astype(x.dtype)
        z = z if self.gain is None else z * self.gain.astype(x.dtype)
        return z if self.shift is None else z + self.shift.astype(x.dtype)


class Layer(eqx.Module):
    r"""x + m attention(norm(x)), then x + m feed(norm(x)).

    Args:
        width: numbers of a token.
        heads: of the attention; 0 leaves it out: a residual MLP that reads each token alone.
        head_size: numbers of a head, c; None takes width / heads.
        hidden: units of the feed-forward part; None takes 4 width for "mlp" and 8 width / 3,
            rounded up, for "swiglu": as many weights.
        norm: "layer" or "rms".   affine: whether norms have gains (and shifts, layer with biases).
        feed: "mlp", W_down act(W_up x), or "swiglu", W_down (act(W_gate x) * W_up x).
        activation: act, a function with a name; None takes the gelu (tanh form) and the silu.
        qk_norm: whether queries and keys pass a root-mean-square norm, one for all heads.
        bias: whether the linear maps have biases.
        logit_scale: of q k^T; None takes 1 / sqrt(c). Hyper-parameter transfer takes 1 / c.
        depth_multiplier: m above. Hyper-parameter transfer takes (layers / base layers)^-alpha.
        scale: matrices begin as N(0, scale^2 / fan-in).   write_scale: times that, for the two
            that write into x.
        key: PRNG key of the initial weights.

    Parameters, with n = heads c and h = hidden: matrices 4 n width + 2 h width (3 h width for
    "swiglu"), biases 3 n + h + 2 width (one more h), gains 2 width, shifts 2 width, qk_norm 2 c.
    With all defaults 12 width^2 + 13 width. Forward takes two operations an entry of a matrix and
    token, and 4 n for each pair of tokens. Its gradient keeps, by default, 36 T width +
    3 heads T^2 numbers of T tokens; under eqx.filter_checkpoint the T width of x alone.

    Raises:
        ValueError: for sizes below one, a width that heads do not divide, an unknown norm or feed.

    Sources: the multipliers, Complete(d)P (arXiv 2512.22382), table 1; norm, feed and head size,
    AIM and AIMv2 (arXiv 2401.08541, 2411.14402).
    """

    norm_read: Norm | None
    read: Dense | None
    query_norm: Norm | None
    key_norm: Norm | None
    write: Dense | None
    norm_feed: Norm
    up: Dense
    gate: Dense | None
    down: Dense
    heads: int = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)
    logit_scale: float | None = eqx.field(static=True)
    depth_multiplier: float = eqx.field(static=True)

    def __init__(self, width: int, heads: int, *, head_size: int | None = None,
                 hidden: int | None = None, norm: str = "layer", affine: bool = True,
                 feed: str = "mlp", activation: Callable | None = None, qk_norm: bool = False,
                 bias: bool = True, logit_scale: float | None = None,
                 depth_multiplier: float = 1.0, scale: float = 1.0, write_scale: float = 1.0,
                 key):
        width, self.heads = positive_int("width", width), positive_int("heads", heads, least=0)
        gated = _one_of("feed", feed, ("mlp", "swiglu")) == "swiglu"
        hidden = (-(-8 * width // 3) if gated else 4 * width) if hidden is None else hidden
        hidden = positive_int("hidden", hidden)
        self.activation = activation or (jax.nn.silu if gated else jax.nn.gelu)
        self.logit_scale = None if logit_scale is None else _finite("logit_scale", logit_scale)
        self.depth_multiplier = _finite("depth_multiplier", depth_multiplier)
        wide = {"scale": _finite("scale", scale), "bias": bias}
        back = {"scale": scale * _finite("write_scale", write_scale), "bias": bias}
        key_read, key_write, key_up, key_down = initial.split(key, 4)
        self.norm_read = self.read = self.query_norm = self.key_norm = self.write = None
        if self.heads:
            c = _head_size(width, heads, head_size)
            self.norm_read = Norm(norm, width, gain=affine, shift=affine and bias)
            self.read = Dense(width, 3 * heads * c, **wide, key=key_read)
            self.write = Dense(heads * c, width, **back, key=key_write)
            if qk_norm:
                self.query_norm, self.key_norm = (Norm("rms", c, gain=affine) for _ in range(2))
        self.norm_feed = Norm(norm, width, gain=affine, shift=affine and bias)
        self.up = Dense(width, hidden, **wide, key=key_up)
        key_gate = jax.random.fold_in(key_up, 1)
        self.gate = Dense(width, hidden, **wide, key=key_gate) if gated else None
        self.down = Dense(hidden, width, **back, key=key_down)

    def __call__(self, x: Float[Array, "T width"],
                 mask: Bool[Array, "T T"] | None = None) -> Float[Array, "T width"]:
        """All tokens at once; mask[i, j] tells whether token i sees token j."""
        self._check(x, mask, len(x))
        if self.heads:
            x = self._write(x, *self._read(x), mask)
        return self._feed(x)

    def cache(self, length: int, dtype) -> tuple[Array, Array] | None:
        """Empty places (length, heads, c) for the keys and for the values of `length` tokens."""
        if not self.heads:
            return None
        c = self.write.weight.shape[-2] // self.heads
        shape = positive_int("length", length), self.heads, c
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def extend(self, cache, at, x: Float[Array, "t width"], mask: Bool[Array, "t length"]):
        """(x, cache) of the tokens at, ..., at + t - 1, from the keys and values before them."""
        if self.heads:
            length = len(cache[0])
            self._check(x, mask, length)
            if known(at) and not 0 <= at <= length - len(x):
                raise ValueError(f"at, the place of the first of {len(x)} tokens, must leave room "
                                 f"in a cache of {length}; got {at}.")
            q, *new = self._read(x)
            cache = tuple(jax.lax.dynamic_update_slice(old, z.astype(old.dtype), (at, 0, 0))
                          for old, z in zip(cache, new, strict=True))
            filled = jnp.arange(length) < at + len(x)
            x = self._write(x, q, *(z.astype(x.dtype) for z in cache), mask & filled)
        return self._feed(x), cache

    def _read(self, x):
        """Queries, keys and values, each (t, heads, c)."""
        read = self.read(self.norm_read(x))
        q, k, v = (z.reshape(len(x), self.heads, -1) for z in jnp.split(read, 3, axis=-1))
        return (q, k, v) if self.query_norm is None else (self.query_norm(q), self.key_norm(k), v)

    def _write(self, x, q, k, v, mask):
        seen = attend(q, k, v, mask, self.logit_scale).reshape(len(x), -1)
        return x + self.depth_multiplier * self.write(seen)

    def _feed(self, x):
        z = self.norm_feed(x)
        z = self.activation(self.up(z)) if self.gate is None else (
            self.activation(self.gate(z)) * self.up(z))
        return x + self.depth_multiplier * self.down(z)

    def _check(self, x, mask, length):
        width = self.up.weight.shape[-2]
        if jnp.ndim(x) != 2 or x.shape[1] != width or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"x must be one sequence (T, {width}) of floating-point tokens; got "
                             f"{x.dtype} of shape {x.shape}. For many sequences: jax.vmap.")
        if not self.heads:
            return
        kind, shape = (getattr(mask, name, None) for name in ("dtype", "shape"))
        if kind != np.dtype(bool) or shape != (len(x), length):
            raise ValueError(f"mask must be Boolean, ({len(x)}, {length}), True where the query "
                             f"may see the key; got {kind} of shape {shape}. See causal_mask, "
                             "prefix_mask, full_mask.")
        if known(mask) and not np.asarray(mask).any(axis=1).all():
            blind = int(np.argmin(np.asarray(mask).any(axis=1)))
            raise ValueError(f"mask shows query {blind} no key, and the softmax of nothing is NaN; "
                             "show it at least itself.")


class Transformer(eqx.Module):
    """Layers in turn, then a norm; see `transformer`, which makes one.

    layers: a list of them, or one with a leading axis on every array (compiled once for all).
    norm: after the last layer.   width_multiplier: of what comes out.

    A cache holds 2 heads c numbers a layer and token; the next token then costs one token, where
    the whole sequence again would cost T.
    """

    layers: list[Layer] | Layer
    norm: Norm
    width_multiplier: float = eqx.field(static=True, default=1.0)

    def __call__(self, x: Float[Array, "T width"],
                 mask: Bool[Array, "T T"] | None = None) -> Float[Array, "T width"]:
        """All tokens at once; mask[i, j] tells whether token i sees token j."""
        x, _ = _in_turn(self.layers, lambda layer, x, _: (layer(x, mask), None), x)
        return self._finish(x)

    def hidden(self, x: Float[Array, "T width"],
               mask: Bool[Array, "T T"] | None = None) -> Float[Array, "layers T width"]:
        """What every layer leaves, before the last norm."""
        def body(layer, x, _):
            x = layer(x, mask)
            return x, x

        return jnp.stack(_in_turn(self.layers, body, x)[1])

    def cache(self, length: int, dtype=jnp.float32):
        """Empty keys and values of every layer, for `extend` to fill with up to `length` tokens."""
        return _in_turn(self.layers, lambda layer, x, _: (x, layer.cache(length, dtype)), 0)[1]

    def extend(self, cache, at, x: Float[Array, "t width"], mask: Bool[Array, "t length"]):
        """(outputs, cache) of t more tokens, the first of them at place `at`.

        mask: rows of the whole mask, `causal_mask(length, at + jnp.arange(t))`, whatever kind it
            is. Places not filled yet are never seen.
        """
        x, cache = _in_turn(self.layers, lambda layer, x, c: layer.extend(c, at, x, mask), x, cache)
        return self._finish(x), cache

    def _finish(self, x):
        return self.width_multiplier * self.norm(x)


def transformer(width: int, layers: int, heads: int, *, stacked: bool = False,
                width_multiplier: float = 1.0, key, **settings) -> Transformer:
    """A transformer of `layers` layers of `heads` heads, and the norm after them.

    Args:
        width, heads, settings: of every layer, see `Layer`.
        layers: how many, at least one.
        stacked: whether the weights of all layers lie behind each other, (layers, ...): deep
            networks then compile as fast as flat ones, shallow ones run a little slower.
        width_multiplier: of what comes out. CompleteP takes base width / width here, before an
            unembedding; Complete(d)P takes 1, and moves it into that matrix and its learning rate.
        key: PRNG key of the initial weights.

    `transformer(width, depth, heads=0, key=key)` is a residual MLP, such as AIM's head.
    """
    keys = initial.split(key, positive_int("layers", layers))
    made = [Layer(width, heads, **settings, key=key) for key in keys]
    if stacked:
        made = jax.tree.map(lambda *arrays: jnp.stack(arrays), *made)
    affine, bias = (settings.get(name, True) for name in ("affine", "bias"))
    norm = Norm(settings.get("norm", "layer"), width, gain=affine, shift=affine and bias)
    return Transformer(made, norm, _finite("width_multiplier", width_multiplier))


def _in_turn(layers, body, x, given=None):
    """(x, [out, ...]) after (x, out) = body(layer, x, given of that layer), layer after layer."""
    if isinstance(layers, Layer):
        return jax.lax.scan(lambda x, of_one: body(of_one[0], x, of_one[1]), x, (layers, given))
    outs = []
    for layer, its in zip(layers, given or [None] * len(layers), strict=True):
        x, out = body(layer, x, its)
        outs.append(out)
    return x, outs


def _one_of(name, value, known):
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(map(repr, known))}; got {value!r}.")
    return value


def _finite(name, value) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value}.")
    return float(value)


def _head_size(width, heads, head_size):
    if head_size is None and width % heads:
        raise ValueError(f"width must be a multiple of heads, unless head_size is given; got "
                         f"{width} and {heads}.")
    return width // heads if head_size is None else positive_int("head_size", head_size)
