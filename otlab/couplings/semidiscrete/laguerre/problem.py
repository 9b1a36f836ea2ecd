"""Weighted atoms under the cost -<x, y>, on one device or split by rows over a mesh."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from otlab.couplings.semidiscrete.laguerre import cells


class Problem(eqx.Module):
    """What stays as it is while a potential h (m,) is sought. epsilon in units of <x, y>.

    sharp: whether epsilon is zero. axis: the mesh axis over which atoms are split, or None.
    """

    y: Float[Array, "m d"]
    b: Float[Array, " m"]
    epsilon: Float[Array, ""]
    sharp: bool = eqx.field(static=True)
    axis: str | None = eqx.field(static=True, default=None)

    def tilt(self, h):
        """What h and b add to <x, y_j>, shape (m,)."""
        return cells.tilt(h, self.b, self.epsilon)

    def shares(self, x, h):
        """Sums over x of the assignment probabilities and of their squares, shapes (m,)."""
        return cells.shares(x, self.y, self.tilt(h), self.epsilon, sharp=self.sharp, axis=self.axis)

    def chi2(self, total, squares, n):
        """Unbiased chi2 of the masses from sums of `shares` over n points."""
        return cells.chi2(total, squares, n, self.b, self.axis)

    def weigh(self, v):
        """sum_j v_j / b_j over the atoms with weight, on all devices."""
        return cells.weigh(v, self.b, self.axis)

    def count(self):
        """How many atoms have weight, on all devices."""
        count = jnp.sum((self.b > 0).astype(self.b.dtype))
        return count if self.axis is None else lax.psum(count, self.axis)


def from_cost(y, b, epsilon, cost, sharp) -> Problem:
    """The problem of a named cost in units of <x, y>.

    Atoms are centred: their mean adds one number to all scores of a noise point.
    """
    return Problem(y - y.mean(axis=0), b, cells.dot_units(epsilon, cost), sharp)


def over_mesh(run, mesh, problem: Problem, split, copies):
    """run(problem, split, copies) -> (split, copies), on the devices of `mesh` if there is one.

    Arrays in `split` have the atoms as first axis, and each device sees its own rows; `copies`
    are whole on every device, and must come out equal on all.
    """
    if mesh is None:
        return run(problem, split, copies)
    axis = mesh.axis_names[0]
    rows, whole = PartitionSpec(axis), PartitionSpec()
    problem = Problem(problem.y, problem.b, problem.epsilon, problem.sharp, axis)
    specs = Problem(rows, rows, whole, problem.sharp, axis)
    return jax.shard_map(run, mesh=mesh, in_specs=(specs, rows, whole), out_specs=(rows, whole),
                         check_vma=False)(problem, split, copies)
