"""What the semidiscrete solver accepts; everything else gets a sentence.

Shapes are checked always, values only when they are known, that is outside `jit`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from otlab.core.inputs import all_finite, floating_type, known, simplex, whole


def check_atoms(y, b=None):
    """y (m, d) in floating point, float32 at least, and b (m,), equal weights when None.

    Raises:
        ValueError: for a wrong shape, no atom, NaN, or weights that are no distribution.
    """
    y = jnp.asarray(y)
    if y.ndim != 2 or y.size == 0:
        raise ValueError(f"semidiscrete wants atoms y of shape (m, d), at least one; got {y.shape}."
                         " Flatten images first: y.reshape(len(y), -1).")
    y = y.astype(np.result_type(floating_type(y), np.float32))
    if not all_finite(y):
        bad = np.flatnonzero(~np.isfinite(np.asarray(y)).all(axis=1))
        raise ValueError(f"semidiscrete wants finite atoms; y holds NaN or infinity in {len(bad)} "
                         f"of {len(y)} rows, the first at row {bad[0]}. Drop them: "
                         "y[np.isfinite(y).all(axis=1)].")
    return y, simplex("b", b, len(y), y.dtype, "semidiscrete")


def check_settings(*, epsilon, cost, batch, eval_batch=2, tol=1.0, max_steps=1):
    """Refuse settings that cannot work, naming the one at fault and the way out."""
    for name, value in (("epsilon", epsilon), ("tol", tol)):
        if np.ndim(value) != 0:
            raise ValueError(f"semidiscrete wants one number for {name}; got shape "
                             f"{np.shape(value)}. For many, use a loop (nothing compiles again).")
    if known(epsilon) and not 0 <= float(epsilon) < float("inf"):
        raise ValueError("semidiscrete wants a finite epsilon >= 0, in units of the cost; got "
                         f"{float(epsilon):g}. epsilon = 0 gives sharp cells.")
    if cost not in ("dot", "sqeuclidean"):
        raise ValueError(f"semidiscrete knows the costs 'dot' and 'sqeuclidean'; got {cost!r}.")
    for name, size in (("batch", batch), ("eval_batch", eval_batch)):
        if not whole(size) or size < 2:
            raise ValueError(f"semidiscrete wants a whole number {name} >= 2; got {size!r}.")
    if known(tol) and not 0 < float(tol) < float("inf"):
        raise ValueError(f"semidiscrete wants tol > 0, a chi2; got {float(tol):g}.")
    if known(max_steps) and not whole(max_steps):
        raise ValueError(f"semidiscrete wants a whole number max_steps >= 1; got {max_steps!r}.")


def check_mesh(mesh, m):
    """Refuse a mesh whose first axis does not divide the m atoms."""
    if mesh is not None and m % mesh.shape[mesh.axis_names[0]]:
        count = mesh.shape[mesh.axis_names[0]]
        raise ValueError(f"{m} atoms do not divide over {count} devices; append "
                         f"{-m % count} copies of a row of y, with weight zero in b.")


def check_sample(sample, key, n, y):
    """Refuse a noise distribution whose points are not of the atoms' dimension."""
    try:
        x = eqx.filter_eval_shape(sample, key, n)
    except TypeError as error:
        raise ValueError("semidiscrete wants sample to be a function (key, n) -> x (n, d), such as "
                         f"standard_normal({y.shape[1]}); calling it failed: {error}") from error
    if getattr(x, "shape", None) != (n, y.shape[1]):
        raise ValueError(f"semidiscrete wants sample(key, {n}) to return noise of shape "
                         f"({n}, {y.shape[1]}), as y is {y.shape}; got "
                         f"{getattr(x, 'shape', type(x))}.")
