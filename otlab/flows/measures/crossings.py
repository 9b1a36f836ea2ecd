"""How often the segments of a planar coupling cross: what a velocity field cannot follow."""

import numpy as np


def crossings(start, end) -> np.ndarray:
    """For each segment, how many of the others it crosses properly, shape (n,).

    Args:
        start, end: end points in the plane, shape (n, 2) each.

    Two segments cross when each separates the end points of the other; shared end points do
    not count. O(n²) orientation tests.

    Raises:
        ValueError: when the two are not planar clouds of one shape.
    """
    p, q = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if p.shape != q.shape or p.ndim != 2 or p.shape[1] != 2:
        raise ValueError(f"crossings wants start and end of shape (n, 2); got {p.shape} and "
                         f"{q.shape}. In higher dimension segments hardly ever meet.")

    def side(points):  # (segments, points): which side of each segment a point lies on
        d = q - p
        r = points[None] - p[:, None]
        return np.sign(d[:, None, 0] * r[..., 1] - d[:, None, 1] * r[..., 0])

    apart = side(p) * side(q) < 0  # segment i separates the ends of segment k
    return (apart & apart.T).sum(1)
