"""Equal atoms: one atom with the sum of their weights."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from otlab.couplings.semidiscrete.laguerre.inputs import check_atoms


class Merged(eqx.Module):
    """Distinct atoms with the weights of their copies added up.

    y, b: the atoms, shape (m, d), and their weights, shape (m,).
    first: a row of the original array for every atom, shape (m,).
    group: the atom of every original row, shape (N,); y[group] is the original array.
    """

    y: Float[Array, "m d"]
    b: Float[Array, " m"]
    first: Int[Array, " m"]
    group: Int[Array, " N"]


def merge_duplicates(y, b=None) -> Merged:
    """Merge equal rows of y (N, d) and add their weights, equal ones when b is None.

    Two equal atoms have one cell between them, which no potential can share out: SGD would move
    their potentials against each other for ever. Solve with `merged.y` and `b=merged.b`, then
    turn an index j into a row of your data by `merged.first[j]`.

    Raises:
        ValueError: for what `check_atoms` refuses.

    Source: arXiv 2509.25519, where the smallest distance between atoms bounds the step.
    """
    y, b = check_atoms(y, b)
    rows, first, group = np.unique(np.asarray(y), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # keep the order of first appearance
    rank = np.argsort(order)
    group = rank[group.reshape(-1)]
    weights = np.bincount(group, np.asarray(b, np.float64), len(rows))
    return Merged(jnp.asarray(rows[order], y.dtype), jnp.asarray(weights, y.dtype),
                  jnp.asarray(first[order]), jnp.asarray(group))


def note_on_copies(y, b) -> str:
    """A sentence when atoms with weight are copies of others, "" when they are not."""
    rows = np.asarray(y)[np.asarray(b) > 0]
    copies = len(rows) - len(np.unique(rows, axis=0))
    return "" if not copies else (f" {copies} of {len(rows)} atoms repeat others, and no potential "
                                  "shares one cell out: see laguerre.duplicates.merge_duplicates.")
