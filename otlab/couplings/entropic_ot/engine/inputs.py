"""What `sinkhorn` accepts; everything else gets a sentence.

Shapes are checked always, values only when they are known: inside `jit` or `vmap` a NaN
ends as `Status.NONFINITE` instead.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from otlab.core.costs import resolve_cost
from otlab.core.inputs import known, simplex, whole

METHODS = ("auto", "kernel", "stream", "plain")
LARGEST = 1 << 29  # entries of a stored kernel: 2 GiB in float32
TILE = 1 << 20  # entries of a block when none is given
STREAM = 256  # rows of C at a time beside a kernel: recomputing them beats reading them
SMALL = 1 << 18  # entries below which C is kept


def on_this_cpu(*arrays) -> bool:
    """Whether this runs now, under no trace, and all arrays lie on one CPU, or nowhere yet."""
    if jax.default_backend() != "cpu" or not known(*arrays, jnp.zeros(())):
        return False
    devices = {d for v in arrays if isinstance(v, jax.Array) for d in v.devices()}
    return len(devices) < 2 and all(device.platform == "cpu" for device in devices)


def weights(name, values, x):
    """Weights (n,) of the points x (n, d) that sum to one, equal when None."""
    if values is None and known(x):
        return np.full(len(x), 1 / len(x), x.dtype)
    return simplex(name, values, len(x), x.dtype, "sinkhorn")


def check_cost(cost, x, y):
    """Refuse an unknown name, and a function that does not return an (n, m) array."""
    resolve_cost(cost)
    if isinstance(cost, str):
        return
    shape = jax.eval_shape(resolve_cost(cost), x, y)
    if not hasattr(shape, "shape") or shape.shape != (len(x), len(y)) or shape.dtype != x.dtype:
        raise ValueError(
            f"sinkhorn wants cost(x, y) to return {x.dtype.name} of shape ({len(x)}, {len(y)}); "
            f"got {shape}. For a cost of two points: "
            "lambda x, y: jax.vmap(lambda p: jax.vmap(lambda q: c(p, q))(y))(x)."
        )


def settings(epsilon, tol, max_steps, block, dtype):
    """epsilon and tol as scalars of `dtype`, max_steps as an int32; block is returned as is."""
    tiny = float(jnp.finfo(dtype).tiny)
    for name, value in (("epsilon", epsilon), ("tol", tol)):
        if np.ndim(value) != 0:
            raise ValueError(
                f"sinkhorn wants one number for {name}; got shape {np.shape(value)}. "
                "For many, use jax.vmap or a loop (nothing is compiled again)."
            )
    if known(epsilon) and not tiny <= float(epsilon) < float("inf"):
        raise ValueError(
            f"sinkhorn wants a finite epsilon > 0, in units of the cost and not below {tiny:.1e} "
            f"in {jnp.dtype(dtype).name}; got {float(epsilon):g}. For a scale-free choice: "
            "relative_epsilon(x, y, 0.1). For epsilon = 0 solve an exact assignment instead."
        )
    if known(tol) and not 0 < float(tol) < 2:
        raise ValueError(
            f"sinkhorn wants tol in (0, 2), an L1 gap in units of mass; got {float(tol):g}."
        )
    if known(max_steps) and not whole(max_steps):
        raise ValueError(
            f"sinkhorn wants a whole number max_steps from 1 to 2^31 - 1; got {max_steps!r}."
        )
    if block is not None and not whole(block):
        raise ValueError(
            "sinkhorn wants block to be None (store the cost) or a whole number of rows >= 1; "
            f"got {block!r}."
        )
    return number(epsilon, dtype), number(tol, dtype), number(max_steps, np.int32)


def number(value, dtype):
    """A scalar of that type, NumPy's where the value is known: nothing is compiled for it."""
    if known(value):
        return np.asarray(value, dtype)
    return jnp.asarray(value).astype(dtype)


def start(init, y):
    """The target potential g (m,) to start from: zeros, or that of init."""
    m, dtype = len(y), y.dtype
    if init is None:
        return np.zeros(m, dtype)
    g = init.g if hasattr(init, "g") else init[1] if isinstance(init, (tuple, list)) else init
    g = np.asarray(g, dtype) if known(g) else jnp.asarray(g).astype(dtype)
    if g.shape != (m,):
        raise ValueError(
            f"sinkhorn wants init to be a SinkhornResult, a pair (f, g) or g alone, with g of "
            f"shape ({m},); got {g.shape}. For a new batch: warm_start(result, x_new, y_new)."
        )
    if known(g) and not np.isfinite(np.asarray(g)).all():
        raise ValueError("sinkhorn wants a finite init; its g holds NaN or infinity.")
    return g - g.mean()


def route(method, block, n, m):
    """The method that will run, and its block of rows: ("stream", 256), ("kernel", None), …"""
    if method not in METHODS:
        raise ValueError(
            f"sinkhorn wants method to be one of {', '.join(METHODS)}; got {method!r}."
        )
    block = None if block is None else int(block)
    if method == "kernel" and block is not None:
        raise ValueError(
            f"sinkhorn stores an (n, m) kernel with method='kernel', and block={block} asks for "
            "blocks; leave one of them away."
        )
    if method == "auto":
        large = n * m > LARGEST
        method = "stream" if block is not None or large else "kernel"
    if method == "stream" and block is None:
        block = max(1, min(n, m, TILE // max(n, m)))
    return method, block


def row_shards(x) -> int:
    """Over how many devices the rows of x are laid out evenly; 1 inside `jit`."""
    layout = None if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)
    axis = layout.spec[0] if isinstance(layout, NamedSharding) and layout.spec else None
    if axis is None:
        return 1
    names = axis if isinstance(axis, tuple) else (axis,)
    return math.prod(layout.mesh.shape[name] for name in names)
