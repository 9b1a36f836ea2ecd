"""One text for two ways to run: on NumPy arrays here and now, on jax arrays as a traced program.

A compiled program answers fastest, but to compile it takes seconds, again for each size. Where
the points can be looked at, lie on a CPU and are few, or where a step takes milliseconds, the
same functions run on NumPy arrays under Python's own control and compile nothing.
"""

import threading
from contextlib import contextmanager
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from threadpoolctl import ThreadpoolController


def on_host(array) -> bool:
    """Whether an array, or a number taken from one, is NumPy's."""
    return isinstance(array, (np.ndarray, np.generic))


def module_of(array):
    """numpy for NumPy's arrays, jax.numpy for all others."""
    return np if on_host(array) else jnp


def matmul(A, B):
    """A @ B at the full precision of its type."""
    return np.matmul(A, B) if on_host(A) else jnp.matmul(A, B, precision="highest")


def linear_solve(A, b):
    """The solution of A s = b for a small square A; zeros where NumPy finds A singular."""
    if not on_host(A):
        return jnp.linalg.solve(A, b)
    try:
        return np.linalg.solve(A, b)
    except np.linalg.LinAlgError:
        return np.zeros_like(b)


def with_row(array, row, at):
    """A copy of array (k, n) in which row number `at` is `row`."""
    if not on_host(array):
        return lax.dynamic_update_index_in_dim(array, row, at, 0)
    array = array.copy()
    array[at] = row
    return array


def choose(condition, first, second):
    """`first` where the condition, one number, holds, else `second`; trees of one structure."""
    if on_host(condition):
        return first if condition else second
    return jax.tree.map(lambda i, j: jnp.where(condition, i, j), first, second)


def cond(condition, then, otherwise, *operands):
    """then(*operands) where the condition holds, else otherwise(*operands)."""
    if on_host(condition):
        return then(*operands) if condition else otherwise(*operands)
    return lax.cond(condition, then, otherwise, *operands)


def while_loop(unfinished, step, state):
    """step(state) again and again as long as unfinished(state)."""
    if not on_host(jax.tree.leaves(state)[0]):
        return lax.while_loop(unfinished, step, state)
    while unfinished(state):
        state = step(state)
    return state


_lock, _inside, _limit = threading.Lock(), 0, None


@contextmanager
def one_thread():
    """NumPy's matrix products on one thread, and quietly whatever overflows.

    A product with a stored kernel waits for memory, not for arithmetic: one thread is as fast as
    two, and two that wait for each other on a busy machine take twenty times as long.
    """
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = _threads().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


@cache
def _threads():
    return ThreadpoolController()
