"""How probes of several tasks lie to each other: one call from activations to all the matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from otlab.steering.probes import (
    Probe,
    area_under_curve,
    chance_jaccard,
    cosines,
    fit_probe,
    jaccard,
    moments,
    transfer_matrix,
)

KINDS = ("l2", "l1", "mean difference")
STANDARDS = ("joint", "per task")
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
Data = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Geometry:
    """T tasks, T probes.

    names: of the tasks.   weights: (T, d), standardised.
    auroc: (T, T), rows train, columns test.   rho: cosines (T, T).
    reliability: cosine of two probes on halves of a task, (T,).
    overlap, chance: Jaccard of the supports, measured and for independent supports, (T, T).
    """

    names: tuple[str, ...]
    weights: np.ndarray
    auroc: np.ndarray
    rho: np.ndarray
    reliability: np.ndarray
    overlap: np.ndarray
    chance: np.ndarray


def standardised(train: Data, test: Data, standard: str) -> tuple[Data, Data]:
    """Both sets in standardised coordinates.

    standard: "joint" centres each task by itself and divides all by one pooled scale (of the
        centred training data); "per task" divides each task by its own scale. Centring changes
        no area under a curve; a common scale is what makes weights comparable.
    """
    if standard not in STANDARDS:
        raise ValueError(f"standard must be one of {', '.join(STANDARDS)}; got {standard!r}.")
    means = {name: np.asarray(h, np.float64).mean(0) for name, (h, _) in train.items()}
    pooled = moments(np.concatenate([h - means[name] for name, (h, _) in train.items()]))[1]
    scales = {name: pooled if standard == "joint" else moments(h)[1]
              for name, (h, _) in train.items()}

    def apply(data):
        return {name: ((np.asarray(h, np.float64) - means[name]) / scales[name], y)
                for name, (h, y) in data.items()}
    return apply(train), apply(test)


def newton_probe(z, y, *, C: float, tol: float = 1e-6, most: int = 50) -> Probe:
    r"""The l2 probe by Newton's method in the span of the samples: fast when n < d.

    Minimises |w|^2 / 2 + C sum_i s_i log(1 + exp(-(2 y_i - 1)(<w, z_i> + c))), where s_i weighs
    the classes equally: what `fit_probe` minimises, with w = Z^T a for n numbers a.

    Args:
        z: standardised activations (n, d).   y: (n,), 0 or 1, both present.
        tol: largest change of a logit in the last step.
    """
    z, y = np.asarray(z, np.float64), np.asarray(y)
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"y must hold 0 and 1, both of them; got {np.unique(y)}.")
    n, d = z.shape
    s = C * np.where(y == 1, n / (2 * y.sum()), n / (2 * (n - y.sum())))
    turn = None
    if n < d:                                  # coordinates in the span: Z = U S V^T, n numbers
        squares, u = np.linalg.eigh(z @ z.T)
        kept = squares > 1e-10 * squares[-1]
        size, u = np.sqrt(squares[kept]), u[:, kept]
        turn = (u / size).T @ z
        x = np.c_[u * size, np.ones(n)]
    else:
        x = np.c_[z, np.ones(n)]
    penalty = np.ones(x.shape[1])
    penalty[-1] = 0.0
    w = np.zeros(x.shape[1])

    def loss(w):
        return penalty @ w**2 / 2 + s @ np.logaddexp(0, -(2 * y - 1) * (x @ w))

    value = loss(w)
    for _ in range(most):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
        gradient = penalty * w + x.T @ (s * (p - y))
        H = (x * (s * p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-12)
        step, share = np.linalg.solve(H, gradient), 1.0
        while (new := loss(w - share * step)) > value and share > 1e-6:
            share /= 2
        w, value = w - share * step, min(new, value)
        if np.abs(x @ step).max() * share < tol:
            break
    weight = w[:-1] if turn is None else w[:-1] @ turn
    return Probe(weight, float(w[-1]), np.zeros(d), np.ones(d))


def mean_difference(z, y) -> Probe:
    """The probe whose weight is mean of true minus mean of false: no covariance in it."""
    z, y = np.asarray(z, np.float64), np.asarray(y)
    true, false = z[y == 1].mean(0), z[y == 0].mean(0)
    return Probe(true - false, float(-(true - false) @ (true + false) / 2),
                 np.zeros(z.shape[1]), np.ones(z.shape[1]))


def probe(z, y, *, kind: str = "l2", C: float = 3e-3) -> Probe:
    """One probe on standardised activations z (n, d): "l2", "l1" or "mean difference"."""
    if kind == "l2":
        return newton_probe(z, y, C=C)
    if kind == "l1":
        d = np.shape(z)[1]
        return fit_probe(z, y, C=C, penalty="l1", standard=(np.zeros(d), np.ones(d)))
    if kind == "mean difference":
        return mean_difference(z, y)
    raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")


def geometry(train: Data, test: Data, *, kind: str = "l2", standard: str = "joint",
             C: float | Mapping[str, float] = 3e-3, groups: Mapping | None = None,
             seed: int = 0, halves: bool = True) -> Geometry:
    """Probes of all tasks, their transfer, cosines, reliability and overlap.

    Args:
        train, test: name -> (h (n, d), y (n,)).
        kind, C: as in `probe`; C by task or one for all.
        groups: name -> (n,) labels of the training rows that must share a half.
        seed: of the halves.   halves: False leaves the reliability at NaN and saves two fits.
    """
    train, test = standardised(train, test, standard)
    names = tuple(train)
    cost = C if isinstance(C, Mapping) else dict.fromkeys(names, C)
    probes = {t: probe(*train[t], kind=kind, C=cost[t]) for t in names}
    weights = np.array([p.weight for p in probes.values()])
    reliability = np.full(len(names), np.nan)
    if halves:
        for k, t in enumerate(names):
            z, y = train[t]
            first = half(np.arange(len(y)) if groups is None else groups[t], y, seed)
            pair = [probe(z[rows], y[rows], kind=kind, C=cost[t]).weight
                    for rows in (first, ~first)]
            reliability[k] = cosine(*pair)
    support = weights != 0
    return Geometry(names, weights, transfer_matrix(probes, test), safe_cosines(weights),
                    reliability, jaccard(support), chance_jaccard(support))


def score_correlations(probes: Mapping[str, Probe], test: Data) -> np.ndarray:
    r"""Correlation, on held-out activations of u, of the scores of probes t and u, (T, T).

    It is w_t^T S_u w_u over the two lengths in the same metric: the angle between two probes as
    the data of u sees it, where the cosine is the angle in a space without data.
    """
    rows = [[np.corrcoef(probes[t](z), probes[u](z))[0, 1] for u, (z, _) in test.items()]
            for t in probes]
    return np.array(rows)


def half(groups, y, seed: int) -> np.ndarray:
    """A random half of the rows, boolean; groups stay whole and both halves hold both classes."""
    rng, groups = np.random.default_rng(seed), np.asarray(groups)
    one = np.unique(groups)
    for _ in range(100):
        rows = np.isin(groups, rng.permutation(one)[:len(one) // 2])
        if all(len(np.unique(y[r])) == 2 for r in (rows, ~rows)):
            return rows
    raise ValueError(f"no half of {len(one)} groups holds both classes; the rarer one has "
                     f"{int(min(np.sum(y), len(y) - np.sum(y)))} rows.")


def cosine(a, b) -> float:
    """<a, b> / |a| |b|, and 0 when one of them is 0."""
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else 0.0


def safe_cosines(weights) -> np.ndarray:
    """`probes.cosines`, with 0 for probes that have no weight at all."""
    empty = ~np.any(weights, axis=1)
    rho = cosines(np.where(empty[:, None], 1.0, weights))
    rho[empty], rho[:, empty] = 0.0, 0.0
    return rho


def choose_strength(z, y, *, kind: str = "l2", strengths: Sequence[float] = STRENGTHS,
                    groups=None, folds: int = 4, seed: int = 0,
                    slack: float = 0.0) -> tuple[float, np.ndarray]:
    """C by cross-validation inside one task: (chosen C, mean AUROC of every C).

    Args:
        z, y: standardised training data of the task.
        groups: rows that share a fold.
        slack: the smallest C whose AUROC is within `slack` of the best; 0.02 matches sparse
            probes at equal quality, 0 takes the best.
    """
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    one = np.random.default_rng(seed).permutation(np.unique(groups))
    table = []
    for part in np.array_split(one, folds):
        held = np.isin(groups, part)
        if len(np.unique(y[held])) < 2:
            continue
        table.append([area_under_curve(probe(z[~held], y[~held], kind=kind, C=C)(z[held]), y[held])
                      for C in strengths])
    if not table:
        raise ValueError("no fold holds both classes; take fewer folds.")
    mean = np.mean(table, 0)
    return float(strengths[int(np.argmax(mean >= mean.max() - slack))]), mean


def off_diagonal(A) -> np.ndarray:
    """The T (T - 1) entries of a square matrix beside its diagonal, row by row."""
    A = np.asarray(A)
    return A[~np.eye(len(A), dtype=bool)]
