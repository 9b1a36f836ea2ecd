"""Where Sinkhorn starts: from a small part of both clouds, then on the way down to epsilon.

Every k-th point of each cloud is solved first, epsilon falling from the spread of its costs to
where so few points still speak for all. Soft c-transforms carry that answer to every point, and
a few sweeps at each smaller epsilon sharpen it.

Source: annealing as in Schmitzer (2019); potentials of a sample, Pooladian and Niles-Weed (2021).
"""

import numpy as np

from otlab.couplings.entropic_ot.engine.host.numbers import cond, module_of, on_host
from otlab.couplings.entropic_ot.engine.iterate import anneal, log_domain, log_rows

PART = 512  # points of a cloud that are solved first, at most,
SHARE = 4  # and one point in so many
COARSE = 0.2  # of the spread of the costs: the epsilon down to which a part is solved
NEAR = 4.0  # an epsilon so many times smaller is near enough to go on without annealing
ROUGH = 2e-2  # to this row error: the other points bring an error of their own
PATIENCE = 60  # sweeps at most


def begin(table, a, b, epsilon):
    """Scaled potentials (p, q) for all rows (n,) and columns (m,) of a table."""
    xp = module_of(a)
    if max(table.shape) <= PART // 2:
        f, g = anneal(table, a, b, epsilon, xp.zeros_like(a), xp.zeros_like(b), table.spread())
        return f / epsilon, g / epsilon
    rows, columns = map(_part, table.shape)
    a_part, b_part = _weights(a, rows), _weights(b, columns)
    part = table.part(rows, columns)
    spread = part.spread()
    coarse = xp.maximum(epsilon, COARSE * spread)
    f, g = anneal(part, a_part, b_part, coarse, xp.zeros_like(a_part), xp.zeros_like(b_part),
                  spread)
    found = log_domain(log_rows(part, a_part, b_part, coarse), f / coarse, g / coarse, a_part,
                       a.dtype.type(ROUGH), PATIENCE).now
    to_rows, to_columns = table.part(None, columns), table.part(rows, None)
    g_part, f_part = coarse * (found.q + xp.log(b_part)), coarse * (found.p + xp.log(a_part))
    safe = not on_host(a)  # the sums rarely need it here, and a program would hold both ways
    f = -coarse * to_rows.sums(xp.zeros_like(a), g_part, coarse, 1, safe)
    g = -coarse * to_columns.sums(xp.zeros_like(b), f_part, coarse, 0, safe)
    f, g = cond(NEAR * epsilon < coarse,
                lambda f, g: anneal(table, a, b, epsilon, f, g, coarse), lambda f, g: (f, g), f, g)
    return f / epsilon, g / epsilon


def _part(n):
    """Numbers of a few points, evenly spread in the order of a cloud."""
    few = min(n, PART, max(n // SHARE, PART // 2))
    return np.arange(few) * n // few


def _weights(a, rows):
    """Weights of the chosen points, equal where all of these weigh nothing."""
    xp, a = module_of(a), a[rows]
    total = xp.sum(a)
    equal = xp.full_like(a, 1 / len(rows))
    return xp.where(total > 0, a / xp.where(total > 0, total, 1), equal)
