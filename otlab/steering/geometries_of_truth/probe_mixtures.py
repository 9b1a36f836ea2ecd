"""Do probes of other tasks replace the missing one? Pools, gated mixtures, plain baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from otlab.steering.geometries_of_truth.probe_geometry import Data, newton_probe, probe
from otlab.steering.probes import Probe, area_under_curve


@dataclass(frozen=True)
class Mixture:
    """score(z) = sum_t pi_t(z) s_t(z), with pi = softmax(G [z, 1]).

    probes: the T experts.   G: (T, d + 1).
    """

    probes: tuple[Probe, ...]
    G: np.ndarray

    def shares(self, z) -> np.ndarray:
        """pi (n, T): how much each probe is trusted at each activation."""
        return _softmax(np.c_[z, np.ones(len(z))] @ self.G.T)

    def __call__(self, z) -> np.ndarray:
        return (self.shares(z) * np.stack([p(z) for p in self.probes], 1)).sum(1)


def pooled_probe(data: Data, *, kind: str = "l2", C: float = 3e-3) -> Probe:
    """One probe on all tasks at once; each task centred by itself before, so no task is a class."""
    z, y = (np.concatenate(part) for part in zip(*data.values(), strict=True))
    return probe(z, y, kind=kind, C=C)


def gated_mixture(data: Data, probes: Mapping[str, Probe], *, penalty: float = 1.0,
                  steps: int = 300) -> Mixture:
    r"""The gate that makes the mixture of given probes predict truth best on all of `data`.

    Minimises mean_i log(1 + exp(-(2 y_i - 1) score(z_i))) + penalty |G|^2 / (2 n), from equal
    shares, by L-BFGS. The probes themselves are not changed.

    Args:
        data: name -> (z (n, d), y (n,)), standardised, the tasks of `probes`.
        steps: of L-BFGS, at most.
    """
    from scipy.optimize import minimize

    z, y = (np.concatenate(part) for part in zip(*data.values(), strict=True))
    experts = tuple(probes[name] for name in data)
    S = np.stack([p(z) for p in experts], 1)
    x, sign, n = np.c_[z, np.ones(len(z))], 2 * y - 1, len(y)

    def loss(flat):
        G = flat.reshape(len(experts), -1)
        pi = _softmax(x @ G.T)
        s = (pi * S).sum(1)
        slope = -sign / (1 + np.exp(np.clip(sign * s, -500, 500)))
        pull = slope[:, None] * pi * (S - s[:, None])
        value = np.logaddexp(0, -sign * s).mean() + penalty * flat @ flat / (2 * n)
        return value, (pull.T @ x / n + penalty * G / n).ravel()

    found = minimize(loss, np.zeros(len(experts) * x.shape[1]), jac=True, method="L-BFGS-B",
                     options={"maxiter": steps})
    return Mixture(experts, found.x.reshape(len(experts), -1))


def leave_one_out(train: Data, test: Data, *, C: float | Mapping[str, float] = 3e-3,
                  steps: int = 300) -> dict:
    """AUROC on every task u, (T,) each, of what may and may not see u.

    "in task": the probe of u.   "best foreign": of the probes of the others, whichever does best
    on u's test set, an oracle's choice.   "pooled": one probe on all others.   "gated": the
    mixture of the others' probes with a gate learned on the others.

    Args:
        train, test: standardised data, as `probe_geometry.standardised` gives them.
        steps: of fitting each gate, at most.
    """
    names = list(train)
    cost = C if isinstance(C, Mapping) else dict.fromkeys(names, C)
    probes = {t: newton_probe(*train[t], C=cost[t]) for t in names}
    found = {key: [] for key in ("in task", "best foreign", "pooled", "gated")}
    for u in names:
        z, y = test[u]
        others = {t: train[t] for t in names if t != u}
        mixture = gated_mixture(others, probes, steps=steps)
        middle = float(np.exp(np.mean([np.log(cost[t]) for t in others])))
        found["in task"].append(area_under_curve(probes[u](z), y))
        found["best foreign"].append(max(area_under_curve(probes[t](z), y) for t in others))
        found["pooled"].append(area_under_curve(pooled_probe(others, C=middle)(z), y))
        found["gated"].append(area_under_curve(mixture(z), y))
    return {key: np.array(values) for key, values in found.items()}


def text_scores(train: Sequence[str], y, test: Sequence[str], *, C: float = 1.0) -> np.ndarray:
    """Scores of a logistic probe on counts of words and word pairs: no model has read the text."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    count = CountVectorizer(ngram_range=(1, 2), token_pattern=r"[^\s]+")
    x = count.fit_transform(train)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=2_000).fit(x, y)
    return model.decision_function(count.transform(test))


def length_scores(train, y, test, *, C: float = 1.0) -> np.ndarray:
    """Scores of a probe on sizes alone, such as letters and tokens: arrays (n, k), (m, k)."""
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    mean, scale = train.mean(0), np.where(train.std(0) > 0, train.std(0), 1.0)
    return newton_probe((train - mean) / scale, y, C=C)((test - mean) / scale)


def task_classifier_accuracy(train: Data, test: Data, *, C: float = 1e-3) -> float:
    """Share of held-out activations (as they are, not centred) whose task a linear rule names."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def stack(data):
        h = np.concatenate([np.asarray(h, np.float64) for h, _ in data.values()])
        return h, np.repeat(np.arange(len(data)), [len(y) for _, y in data.values()])

    (h, task), (h_test, task_test) = stack(train), stack(test)
    scaler = StandardScaler().fit(h)
    model = LogisticRegression(C=C, max_iter=1_000).fit(scaler.transform(h), task)
    return float(model.score(scaler.transform(h_test), task_test))


def silhouettes(data: Data) -> tuple[float, float]:
    """Mean silhouette of standardised activations by task, and by truth within the pool."""
    from sklearn.metrics import silhouette_score

    h = np.concatenate([np.asarray(h, np.float64) for h, _ in data.values()])
    h = (h - h.mean(0)) / np.where(h.std(0) > 0, h.std(0), 1.0)
    task = np.repeat(np.arange(len(data)), [len(y) for _, y in data.values()])
    truth = np.concatenate([y for _, y in data.values()])
    return float(silhouette_score(h, task)), float(silhouette_score(h, truth))


def _softmax(logits) -> np.ndarray:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
