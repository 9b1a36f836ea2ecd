"""Sorting and ranking with derivatives, by entropic transport onto a ladder of sorted targets.

Sorting n numbers is transporting them onto any n increasing targets: the optimal plan is the
permutation that sorts. An entropic plan is a soft permutation, and its barycentres are soft
sorted values and soft ranks, differentiable everywhere by the implicit function theorem.

Source: Cuturi, Teboul and Vert, arXiv 1905.11885; Cuturi et al., arXiv 2002.03229.
"""

import jax.numpy as jnp
import numpy as np

from otlab.couplings.implicit_differentiation.adjoint import kernel
from otlab.couplings.implicit_differentiation.implicit import implicit_sinkhorn


def soft_rank(values, *, epsilon, m=None, **settings):
    """Ranks from 0 (least) to n - 1 (greatest) of `values`, shape (n,), as soft numbers.

    Args:
        values: n numbers.
        epsilon: softness, in units of the squared standard deviation of the values: at 1e-3
            almost the ranks, at 10 almost (n - 1) / 2 for all. No default.
        m: rungs of the ladder; n when None.
        settings: of `implicit_sinkhorn`, such as tol, max_steps or block.

    The ranks always average to (n - 1) / 2, are ordered as the values are, and do not change
    when the values are shifted or scaled.
    """
    result, levels = ladder(values, epsilon, m, settings)
    times, _ = _products(result)
    return (len(result.a) * times(result.b * levels) - 1) / 2


def soft_sort(values, *, epsilon, m=None, **settings):
    """The values in increasing order, softly: shape (m,), n when None; see `soft_rank`.

    Each is an average of values; their mean is that of the values.
    """
    values = jnp.asarray(values)
    result, _ = ladder(values, epsilon, m, settings)
    _, transposed = _products(result)
    return transposed(result.a * values.astype(result.x.dtype))


def ladder(values, epsilon, m=None, settings=None):
    """The transport of standardised values onto m equally spaced targets, and their levels.

    Targets span as the values do: mean zero, variance one. Returns the `SinkhornResult` and
    the levels (2 j + 1) / m of the rungs, twice the quantile at the middle of each.
    """
    values = jnp.asarray(values)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"soft sorting wants at least two numbers in one axis; got shape {values.shape}. "
            "For many rows use jax.vmap."
        )
    m = len(values) if m is None else m
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or m < 2:
        raise ValueError(f"soft sorting wants a whole number of rungs m >= 2; got {m!r}.")
    values = values.astype(np.result_type(values.dtype, np.float32))
    spread = jnp.std(values)
    x = (values - jnp.mean(values)) / jnp.where(spread > 0, spread, 1)
    levels = (2 * jnp.arange(m, dtype=x.dtype) + 1) / m
    y = levels - 1
    y = y / jnp.std(y)
    return implicit_sinkhorn(x[:, None], y[:, None], epsilon=epsilon, **(settings or {})), levels


def _products(result):
    """v -> K v and u -> K^T u of a result with P_ij = a_i b_j K_ij, streamed if it was."""
    r = result
    return kernel(r.x, r.y, r.f, r.g, r.epsilon, r.cost, r.block)
