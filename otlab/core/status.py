"""How a solver ended, and what to do about it."""

from enum import IntEnum


class Status(IntEnum):
    """End of an iterative solver; an int inside `jit`, a sentence outside (see REMEDY)."""

    CONVERGED = 0
    MAX_STEPS = 1
    NONFINITE = 2
    PRECISION = 3


REMEDY = {
    Status.CONVERGED: "converged.",
    Status.MAX_STEPS: (
        "stopped at max_steps before its error reached tol. Raise max_steps, raise epsilon "
        "(steps grow as 1/epsilon or faster), accept a larger tol, or start from an earlier "
        "solution with init=."
    ),
    Status.NONFINITE: (
        "met a NaN or an infinity. Look for one in the inputs or in a cost of your own, "
        "and rescale clouds whose squared norms overflow."
    ),
    Status.PRECISION: (
        "cannot reach tol in this floating-point type: epsilon is too small beside max|C|, and "
        "rounding alone moves the marginals by more than tol. Centre both clouds "
        "(x - x.mean(0), y - y.mean(0)), use cost='dot', raise epsilon or tol, or work in "
        "float64 (jax.config.update('jax_enable_x64', True))."
    ),
}
