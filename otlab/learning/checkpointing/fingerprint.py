"""What a run was started with, in words that are the same in every process."""

import dataclasses
import functools
import hashlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

SAMPLED = 1 << 22   # bytes of an array that are read; the rest is known by its shape


def describe(value, seen: tuple = ()) -> object:
    """`value` as what JSON can hold: equal for equal settings, different for different ones.

    Modules and dataclasses by their fields, functions by their name and by what they close over,
    arrays by shape, dtype and a digest of at most 4 MiB of evenly spaced numbers, PRNG keys by
    their data. An object of another kind is known by its type alone, since its address would
    differ from one process to the next.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value if not isinstance(value, float) else repr(value)
    if id(value) in seen:
        return "itself"
    inner = functools.partial(describe, seen=(*seen, id(value)))
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _array(value)
    if isinstance(value, dict):
        return {str(k): inner(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [inner(v) for v in value]
    if isinstance(value, functools.partial):
        return ["partial", inner(value.func), inner(value.args), inner(value.keywords)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: inner(getattr(value, f.name, None)) for f in dataclasses.fields(value)}
        return {"is": _name(type(value)), **fields}
    if hasattr(value, "__wrapped__"):                     # jax.jit, eqx.filter_jit, lru_cache
        return inner(value.__wrapped__)
    if hasattr(value, "__self__") and not isinstance(value.__self__, type(np)):
        return [_name(value), inner(value.__self__)]      # a bound method
    if hasattr(value, "__qualname__"):
        cells = getattr(value, "__closure__", None) or ()
        return [_name(value), *(inner(cell.cell_contents) for cell in cells)]
    return _name(type(value))


def digest(tree) -> str:
    """Sixteen letters that stand for every array of a pytree."""
    leaves = [_array(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]
    return hashlib.sha256(repr(leaves).encode()).hexdigest()[:16]


def shapes(tree) -> list:
    """Path, shape and dtype of every array of a pytree."""
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)]
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if eqx.is_array(leaf)]


def _array(x) -> str:
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.size == 1:
        return f"{x.dtype} {x.item()}"
    rows = x.reshape(-1)[::-(-x.nbytes // SAMPLED) or 1]
    content = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16]
    return f"{x.dtype}{list(x.shape)} {content}"


def _name(thing) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
