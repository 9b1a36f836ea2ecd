"""How much of a velocity its place and time leave open: what no network can learn."""

import numpy as np
from scipy.spatial import cKDTree


def ambiguity(x0, x1, t) -> np.ndarray:
    r"""E[ |v - E[v | x_t]|^2 ] of the pairs' velocities v = x1 - x0, at each time of t.

    Half the mean squared gap between the velocity of a pair and that of the pair whose x_t is
    nearest: the noise variance, plus a part that vanishes as the sample grows, quickly in few
    dimensions (like n^(-2/d)). It bounds the flow matching loss at t from below.

    Args:
        x0, x1: paired points, shape (n, d) each; some thousands, and d small.
        t: times, shape (k,).

    Returns:
        Shape (k,), in squared length.

    Raises:
        ValueError: for clouds that are not paired, or fewer than two pairs.

    Source: nearest-neighbour estimate of a residual variance; Evans and Jones (2002), with one
    neighbour.
    """
    x0, x1 = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
    if x0.shape != x1.shape or x0.ndim != 2 or len(x0) < 2:
        raise ValueError(f"ambiguity wants two pairs or more, (n, d) each; got {x0.shape} and "
                         f"{x1.shape}.")
    v, out = x1 - x0, []
    for time in np.atleast_1d(np.asarray(t, np.float64)):
        x_t = (1 - time) * x0 + time * x1
        nearest = cKDTree(x_t).query(x_t, k=2)[1]
        other = np.where(nearest[:, 0] == np.arange(len(v)), nearest[:, 1], nearest[:, 0])
        out.append(np.mean(np.sum((v - v[other]) ** 2, axis=1)) / 2)
    return np.array(out)
