"""Checks of arguments: each returns what it was given, or raises a sentence that names it.

Shapes are checked always, values only where they are `known`: under `jit`, `vmap` or `grad` a
number is not there yet, and the check lets it pass.
"""

import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from otlab.core import threefry as threefry  # every solver comes by here: faster random bits


def known(*values) -> bool:
    """True when every value can be looked at: outside `jit`, `vmap` and `grad`, on this host."""
    return not any(isinstance(value, jax.core.Tracer) or _elsewhere(value) for value in values)


def _elsewhere(array) -> bool:
    """Whether parts of the array lie with other processes only."""
    return isinstance(array, jax.Array) and not (array.is_fully_addressable
                                                 or array.is_fully_replicated)


def whole(value) -> bool:
    """True for an integer from 1 to 2^31 - 1, of any integer type."""
    try:
        return not isinstance(value, bool) and 1 <= operator.index(value) < 2**31
    except TypeError:
        return False


def positive_int(name: str, value, least: int = 1) -> int:
    """Return value as an int of at least `least`, or raise a sentence naming it."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return int(value)


def number(name: str, value, right: Callable[..., bool], words: str, way_out: str = ""):
    """Return value, a number or array of them for which `right` holds wherever it is known.

    Args:
        name: of the argument, for the sentence.
        right: value -> whether it may be so, entry by entry for an array.
        words: what it must be, such as "a positive number".
        way_out: a sentence more, when there is one to give.

    Raises:
        ValueError: "{name} must be {words}; got {value}. {way_out}"
    """
    if known(value) and not np.all(right(np.asarray(value))):
        raise ValueError(f"{name} must be {words}; got {value}. {way_out}".rstrip())
    return value


def positive(name: str, value, way_out: str = ""):
    """Return value, a finite number above zero, or raise a sentence naming it."""
    return number(name, value, lambda v: (v > 0) & (v < np.inf), "a positive number", way_out)


def all_finite(x) -> bool:
    """False when x is known, outside and inside `jit`, and holds NaN or infinity."""
    if not known(x):
        return True
    accelerated = isinstance(x, jax.Array) and any(d.platform != "cpu" for d in x.devices())
    if not accelerated:  # a look at memory, which compiles nothing
        return bool(np.isfinite(np.asarray(x)).all())
    with jax.ensure_compile_time_eval():
        return bool(jnp.isfinite(x).all())


def finite(name: str, x, way_out: str = ""):
    """Return x, or raise a sentence when it is known and holds NaN or infinity."""
    if not all_finite(x):
        raise ValueError(f"{name} holds NaN or infinite values; {way_out or 'drop such rows'}"
                         f"{'' if way_out.endswith(('.', '?')) else '.'}")
    return x


def cloud(name: str, x, way_out: str = "did the sampler diverge?"):
    """Return x of shape (n, ...), finite and with a point at least, or raise a sentence."""
    if jnp.ndim(x) < 2 or len(x) == 0:
        raise ValueError(f"{name} must hold at least one point, shape (n, ...); got "
                         f"{jnp.shape(x)}. For one point: {name}[None].")
    return finite(name, x, way_out)


def clouds(x, y, who: str):
    """Return x (n, d) and y (m, d) in one floating-point type, float32 at least, or raise."""
    x, y = (v if isinstance(v, np.ndarray) else jnp.asarray(v) for v in (x, y))
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
    dtype = np.result_type(floating_type(x), floating_type(y), np.float32)
    x, y = to_jax(x, dtype), to_jax(y, dtype)
    for name, cloud in (("x", x), ("y", y)):
        if known(cloud) and not (finite := np.isfinite(np.asarray(cloud))).all():
            bad = np.flatnonzero(~finite.all(axis=1))
            raise ValueError(
                f"{who} wants finite points; {name} holds NaN or infinity in {len(bad)} of "
                f"{len(cloud)} rows, the first at row {bad[0]}. Drop them: "
                f"{name}[np.isfinite({name}).all(axis=1)]."
            )
    return x, y


def floating_type(array):
    """The floating-point type in which an array of any numbers is computed with."""
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return jax.dtypes.canonicalize_dtype(array.dtype if is_float else float)


def to_jax(array, dtype):
    """The array as jax's, in that type; for NumPy's nothing is compiled, whatever their shape."""
    if isinstance(array, np.ndarray):
        return jnp.asarray(array.astype(dtype), dtype)
    return array.astype(dtype)


def simplex(name: str, values, size: int, dtype, who: str):
    """Return weights of shape (size,) that sum to one, uniform when None, or raise a sentence."""
    if values is None:
        return jnp.full(size, 1 / size, dtype)
    values = to_jax(values if isinstance(values, np.ndarray) else jnp.asarray(values), dtype)
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
    if isinstance(values, jax.Array) and len(values.devices()) > 1:
        return values / values.sum()  # laid out as it was
    return to_jax(host / host.sum(), dtype)


def check_pair(x0, x1):
    """Refuse what is not paired row by row."""
    if jnp.shape(x0) != jnp.shape(x1) or jnp.ndim(x0) < 2 or len(x0) == 0:
        raise ValueError(
            f"x0 and x1 are paired row by row, shape (n, ...) with n of at least 1; got "
            f"{jnp.shape(x0)} and {jnp.shape(x1)}. Index the target by the partners first: x1[j]."
        )
