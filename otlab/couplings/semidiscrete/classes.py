"""Semidiscrete transport with labels: one problem a class, noise of a label to data of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from otlab.core.inputs import known
from otlab.core.status import REMEDY, Status
from otlab.couplings.semidiscrete import SemidiscreteResult, relative_rate, solve
from otlab.couplings.semidiscrete.laguerre import matching
from otlab.couplings.semidiscrete.laguerre.inputs import check_atoms


class ClassResult(eqx.Module):
    """One potential a label, side by side.

    atoms: all atoms as one result; its g and b are centred and sum to one within each class.
    labels: of the atoms, shape (m,).   classes: the labels there are, shape (c,), sorted.
    chi2, steps, status: of each class's problem, shape (c,).
    """

    atoms: SemidiscreteResult
    labels: Int[Array, " m"]
    classes: Int[Array, " c"]
    chi2: Float[Array, " c"]
    steps: Int[Array, " c"]
    status: Int[Array, " c"]

    def assign(self, x, labels, *, block: int | None = None) -> Int[Array, " n"]:
        """The atom of its own label that owns each point x (n, d) of labels (n,)."""
        labels = self._known(labels)
        return matching.assign(self.atoms, x, block=block, labels=(labels, self.labels))

    def sample_pairs(self, key, x, labels, *, block: int | None = None) -> Int[Array, " n"]:
        """One partner of its own label for each point; a draw when epsilon > 0."""
        labels = self._known(labels)
        return matching.sample_pairs(self.atoms, key, x, block=block,
                                     labels=(labels, self.labels))

    def require_converged(self) -> "ClassResult":
        """Return self, or raise RuntimeError naming the first class that failed."""
        bad = np.flatnonzero(np.asarray(self.status) != Status.CONVERGED)
        if len(bad):
            k = int(bad[0])
            raise RuntimeError(f"semidiscrete, class {int(self.classes[k])}: "
                               f"{REMEDY[Status(int(self.status[k]))]} "
                               f"(steps={int(self.steps[k])}, chi2={float(self.chi2[k]):.3g})")
        return self

    def _known(self, labels):
        labels = jnp.asarray(labels)
        if known(labels):
            odd = np.setdiff1d(np.asarray(labels), np.asarray(self.classes))
            if len(odd):
                raise ValueError(f"assign knows the labels {np.asarray(self.classes).tolist()}; "
                                 f"got {odd[0]}.")
        return labels


def solve_classes(key, sample, y, labels, *, epsilon=0.0, cost="dot", batch=256, tol=0.02,
                  max_steps=20_000, eval_batch=1024) -> ClassResult:
    """Couple the noise with the atoms of every label on their own, equal weights in each class.

    Smaller classes are filled up with atoms of weight zero, so that one program serves all.

    Args:
        key, sample, epsilon, cost, batch, tol, max_steps, eval_batch: as in `semidiscrete.solve`.
        y: atoms, shape (m, d).   labels: whole numbers, shape (m,).

    Raises:
        ValueError: for labels of another shape or type, and for what `solve` refuses.

    Source: arXiv 2509.25519, class-conditional generation.
    """
    y, _ = check_atoms(y)
    labels = np.asarray(labels)
    if labels.shape != (len(y),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"solve_classes wants one whole-number label an atom, shape ({len(y)},); "
                         f"got {labels.dtype} of shape {labels.shape}.")
    classes, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    most = int(sizes.max())
    key_rate, key_run = jax.random.split(key)
    rate = relative_rate(key_rate, sample, y, cost=cost) / len(y)
    g, results = jnp.zeros(len(y), y.dtype), []
    for k, size in enumerate(sizes):
        rows = np.resize(np.flatnonzero(group == k), most)  # repeats fill up
        b = jnp.asarray(np.arange(most) < size, y.dtype) / int(size)
        r = solve(jax.random.fold_in(key_run, k), sample, y[rows], b=b, epsilon=epsilon, cost=cost,
                  batch=batch, rate=rate * int(size), tol=tol, max_steps=max_steps,
                  eval_batch=eval_batch)
        g = g.at[rows[:size]].set(r.g[:size])
        results.append(r)
    chi2, steps, status = (jnp.stack([getattr(r, name) for r in results])
                           for name in ("chi2", "steps", "status"))
    b = jnp.asarray(1 / sizes[group], y.dtype)
    whole = eqx.tree_at(lambda r: (r.g, r.y, r.b, r.chi2, r.steps, r.status), results[0],
                        (g, y, b, chi2.max(), steps.sum(), status.max()))
    return ClassResult(whole, jnp.asarray(labels), jnp.asarray(classes), chi2, steps, status)
