"""Linear probes of activations, and how the probes of several tasks lie to each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PENALTIES = ("l2", "l1")


@dataclass(frozen=True)
class Probe:
    """score(h) = <weight, (h - mean) / scale> + offset; positive means true.

    weight: (d,), in standardised coordinates, in which probes may be compared when mean and scale
    are shared.   mean, scale: (d,).
    """

    weight: np.ndarray
    offset: float
    mean: np.ndarray
    scale: np.ndarray

    @property
    def direction(self) -> np.ndarray:
        """The normal in the coordinates of the activations, (d,)."""
        return self.weight / self.scale

    @property
    def support(self) -> np.ndarray:
        """Neurons with a weight, as a boolean vector (d,)."""
        return self.weight != 0

    def __call__(self, h) -> np.ndarray:
        """Scores of activations h (n, d), shape (n,)."""
        return (np.asarray(h) - self.mean) / self.scale @ self.weight + self.offset


def moments(h) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale) of activations (n, d); a constant neuron has scale 1."""
    h = np.asarray(h, np.float64)
    scale = h.std(0)
    return h.mean(0), np.where(scale > 1e-8, scale, 1.0)


def fit_probe(h, y, *, C: float, penalty: str = "l2", standard=None, seed: int = 0) -> Probe:
    r"""Logistic regression on standardised activations, classes weighted to equal parts.

    Args:
        h: activations (n, d).   y: 0 or 1, (n,), both present.
        C: inverse strength of the penalty, as in scikit-learn.
        penalty: "l2", or "l1" for few neurons.
        standard: None to standardise by h itself, or (mean, scale) shared by all tasks: cosines
            between probes mean something only then.
        seed: of the l1 solver.

    Raises:
        ValueError: for other shapes, NaN, one class only, C <= 0.

    Source: arXiv 2506.08572, section 3.
    """
    from sklearn.linear_model import LogisticRegression

    h, y = np.asarray(h, np.float64), np.asarray(y)
    if h.ndim != 2 or y.shape != h.shape[:1]:
        raise ValueError(f"fit_probe wants h (n, d) and y (n,); got {h.shape} and {y.shape}.")
    if not np.isfinite(h).all():
        raise ValueError("h holds NaN or infinity.")
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"y must hold 0 and 1, both of them; got {np.unique(y)}.")
    if not C > 0 or penalty not in PENALTIES:
        raise ValueError(f"C must be positive and penalty one of {', '.join(PENALTIES)}; got {C} "
                         f"and {penalty!r}.")
    mean, scale = moments(h) if standard is None else standard
    extra = {} if penalty == "l2" else {"l1_ratio": 1.0, "solver": "liblinear"}
    model = LogisticRegression(C=C, max_iter=2_000, class_weight="balanced", random_state=seed,
                               **extra)
    model.fit((h - mean) / scale, y)
    return Probe(model.coef_[0], float(model.intercept_[0]), mean, scale)


def area_under_curve(scores, y) -> float:
    """AUROC of scores (n,) for labels y (n,): the fraction of (true, false) pairs in order.

    Ties count as halves. Computed from ranks (Mann and Whitney).
    """
    from scipy.stats import rankdata

    y = np.asarray(y)
    true, false = int((y == 1).sum()), int((y == 0).sum())
    if true == 0 or false == 0 or true + false != len(y):
        raise ValueError(f"area_under_curve wants 0 and 1, both of them; got {np.unique(y)}.")
    ranks = rankdata(scores)
    return float((ranks[y == 1].sum() - true * (true + 1) / 2) / (true * false))


def transfer_matrix(probes: Mapping[str, Probe], tests: Mapping[str, tuple]) -> np.ndarray:
    """AUROC of the probe of each row's task on the test data (h, y) of each column's task."""
    return np.array([[area_under_curve(probe(h), y) for h, y in tests.values()]
                     for probe in probes.values()])


def cosines(weights) -> np.ndarray:
    """Cosines between the rows of (T, d), shape (T, T)."""
    w = np.asarray(weights, np.float64)
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    if (norms == 0).any():
        raise ValueError(f"probe {int(np.argmin(norms))} has no weight at all; raise C.")
    w = w / norms
    return w @ w.T


def disattenuated(rho, reliability) -> np.ndarray:
    """rho_tu / sqrt(r_t r_u): what the cosine would be without noise; NaN where r <= 0.

    Args:
        rho: cosines (T, T).   reliability: cosine of two probes on halves of a task, (T,).
    """
    r = np.asarray(reliability, np.float64)
    root = np.sqrt(np.where(r > 0, r, np.nan))
    return np.asarray(rho) / (root[:, None] * root[None])


def jaccard(supports) -> np.ndarray:
    """|S_t & S_u| / |S_t | S_u| between boolean rows (T, d), shape (T, T); 0 for two empty sets."""
    s = np.asarray(supports, bool).astype(np.float64)
    both = s @ s.T
    size = s.sum(1)
    union = size[:, None] + size[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def chance_jaccard(supports) -> np.ndarray:
    """The same with |S_t & S_u| replaced by s_t s_u / d, its mean under independence."""
    s = np.asarray(supports, bool)
    size, d = s.sum(1).astype(np.float64), s.shape[1]
    both = size[:, None] * size[None] / d
    union = size[:, None] + size[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def explained_by_others(weights) -> np.ndarray:
    """|proj of w_u on the span of the other rows|^2 / |w_u|^2, shape (T,); chance (T - 1) / d."""
    w = np.asarray(weights, np.float64)
    shares = []
    for u in range(len(w)):
        others = np.delete(w, u, axis=0)
        coefficients, *_ = np.linalg.lstsq(others.T, w[u], rcond=None)
        shares.append(np.sum((coefficients @ others) ** 2) / np.sum(w[u] ** 2))
    return np.array(shares)
