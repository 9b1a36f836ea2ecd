"""What `sinkhorn` accepts; everything else gets a sentence.

Shapes are checked always, values only when they are known: inside `jit` or `vmap` a NaN
ends as `Status.NONFINITE` instead.
"""

import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from otlab.core.costs import resolve_cost

METHODS = ("auto", "kernel", "stream", "plain")
LARGEST = 1 << 29  # entries of a stored kernel: 2 GiB in float32
TILE = 1 << 20  # entries of a block when none is given
STREAM = 256  # rows of C at a time beside a kernel: recomputing them beats reading them
SMALL = 1 << 18  # entries below which C is kept


def known(*arrays) -> bool:
    """True when every value can be looked at: outside `jit`, `vmap` and `grad`, on this host."""
    return not any(isinstance(array, jax.core.Tracer) or _elsewhere(array) for array in arrays)


def _elsewhere(array) -> bool:
    """Whether parts of the array lie with other processes only."""
    return isinstance(array, jax.Array) and not (array.is_fully_addressable
                                                 or array.is_fully_replicated)


def clouds(x, y, who="sinkhorn"):
    """x (n, d) and y (m, d) in one floating-point type, float32 at least."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{who} wants x (n, d) and y (m, d); got {x.shape} and {y.shape}. "
            "Flatten images first: x.reshape(len(x), -1); points on a line are x[:, None]."
        )
    for name, cloud in (("x", x), ("y", y)):
        if cloud.size == 0:
            raise ValueError(
                f"{who} wants at least one point of one dimension in {name}; got shape "
                f"{cloud.shape}. Check the filter or the slice that made it."
            )
        if jnp.issubdtype(cloud.dtype, jnp.complexfloating):
            raise ValueError(
                f"{who} wants real points in {name}; got {cloud.dtype}. "
                "Stack real and imaginary parts as coordinates."
            )
    dtype = np.result_type(_floating(x), _floating(y), np.float32)
    x, y = x.astype(dtype), y.astype(dtype)
    for name, cloud in (("x", x), ("y", y)):
        if known(cloud) and not (finite := np.isfinite(np.asarray(cloud))).all():
            bad = np.flatnonzero(~finite.all(axis=1))
            raise ValueError(
                f"{who} wants finite points; {name} holds NaN or infinity in {len(bad)} of "
                f"{len(cloud)} rows, the first at row {bad[0]}. Drop them: "
                f"{name}[np.isfinite({name}).all(axis=1)]."
            )
    return x, y


def _floating(array):
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return array.dtype if is_float else jnp.zeros(()).dtype


def check_cost(cost, x, y):
    """Refuse an unknown name, and a function that does not return an (n, m) array."""
    shape = jax.eval_shape(resolve_cost(cost), x, y)
    if not hasattr(shape, "shape") or shape.shape != (len(x), len(y)) or shape.dtype != x.dtype:
        raise ValueError(
            f"sinkhorn wants cost(x, y) to return {x.dtype.name} of shape ({len(x)}, {len(y)}); "
            f"got {shape}. For a cost of two points: "
            "lambda x, y: jax.vmap(lambda p: jax.vmap(lambda q: c(p, q))(y))(x)."
        )


def weights(name, values, size, dtype, who="sinkhorn"):
    """Weights of shape (size,) that sum to one; uniform when None."""
    if values is None:
        return jnp.full(size, 1 / size, dtype)
    values = jnp.asarray(values).astype(dtype)
    if values.shape != (size,):
        raise ValueError(
            f"{who} wants one weight a point: {name} of shape ({size},); "
            f"got {values.shape}. Leave {name}=None for equal weights."
        )
    if not known(values):
        return values
    host = np.asarray(values, np.float64)
    if not np.isfinite(host).all() or (host < 0).any():
        bad = int(np.flatnonzero(~(host >= 0) | np.isinf(host))[0])
        raise ValueError(
            f"{who} wants finite weights >= 0; {name}[{bad}] is {host[bad]:g}. Clip or drop "
            f"such points, then divide by the sum: {name} / {name}.sum()."
        )
    if abs(host.sum() - 1) > 1e-5:
        raise ValueError(
            f"{who} wants weights that sum to 1; {name} sums to {host.sum():.6g}. "
            f"Pass {name} / {name}.sum()."
        )
    return values / values.sum()


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
    epsilon = jnp.asarray(epsilon).astype(dtype)
    return epsilon, jnp.asarray(tol).astype(dtype), jnp.asarray(max_steps).astype(jnp.int32)


def whole(value) -> bool:
    """True for an integer from 1 to 2^31 - 1, of any integer type."""
    try:
        return not isinstance(value, bool) and 1 <= operator.index(value) < 2**31
    except TypeError:
        return False


def start(init, m, dtype):
    """The target potential g (m,) to start from: zeros, or that of init."""
    if init is None:
        return jnp.zeros(m, dtype)
    g = init.g if hasattr(init, "g") else init[1] if isinstance(init, (tuple, list)) else init
    g = jnp.asarray(g).astype(dtype)
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
