"""Carry one task's activations onto another's, labels unseen, and ask the other's probe."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from otlab.core.linalg import gaussian_matrix
from otlab.steering.activation_transport import fit_columns
from otlab.steering.geometries_of_truth.probe_geometry import Data, newton_probe
from otlab.steering.probes import Probe, area_under_curve

MAPS = ("none", "centre", "scale", "AcT", "Gaussian")


def covariance(z, shrink: float) -> np.ndarray:
    """(1 - shrink) of the sample covariance, and shrink of its mean variance on the diagonal."""
    S = np.cov(np.asarray(z, np.float64), rowvar=False)
    return (1 - shrink) * S + shrink * np.trace(S) / len(S) * np.eye(len(S))


def gaussian_map(a, b, *, shrink: float = 0.1) -> Callable:
    r"""The optimal map between Gaussians with the moments of samples a (n, d) and b (m, d).

    T(x) = mean_b + A (x - mean_a), A of `core.linalg.gaussian_matrix`, symmetric and positive.

    Args:
        shrink: of both covariances towards a round one, in (0, 1]; needed when n < d.

    Source: Peyré and Cuturi, Computational Optimal Transport, remark 2.31.
    """
    if not 0 < shrink <= 1:
        raise ValueError(f"shrink must be in (0, 1]; got {shrink}.")
    A = gaussian_matrix(covariance(a, shrink), covariance(b, shrink))
    mean_a, mean_b = np.mean(a, 0), np.mean(b, 0)
    return lambda x: mean_b + (np.asarray(x) - mean_a) @ A


def carry(a, b, how: str, *, shrink: float = 0.1) -> Callable:
    """A map that carries samples like a (n, d) to samples like b (m, d); no labels, no pairs.

    how: "none"; "centre", a shift; "scale", each neuron to the mean and spread of b; "AcT", the
        affine fit to each neuron's monotone matching; "Gaussian", all neurons together.
    """
    if how == "none":
        return np.asarray
    if how == "Gaussian":
        return gaussian_map(a, b, shrink=shrink)
    methods = {"centre": "mean", "scale": "gaussian", "AcT": "linear"}
    if how not in methods:
        raise ValueError(f"how must be one of {', '.join(MAPS)}; got {how!r}.")
    affine = fit_columns(torch.as_tensor(np.asarray(a)), torch.as_tensor(np.asarray(b)),
                         method=methods[how])
    omega, beta = affine.omega.double().numpy(), affine.beta.double().numpy()
    return lambda x: omega * np.asarray(x, np.float64) + beta


def repaired_transfer(train: Data, test: Data, probes: Mapping[str, Probe], how: str, *,
                      shrink: float = 0.1) -> np.ndarray:
    """AUROC (T, T) of row t's probe on column u's test set, carried from u to t beforehand.

    The map is fitted to the training activations of u and t; no label of u is read. On the
    diagonal nothing is carried.
    """
    A = np.empty((len(probes), len(probes)))
    for i, t in enumerate(probes):
        for j, u in enumerate(probes):
            z, y = test[u]
            if t != u:
                z = carry(train[u][0], train[t][0], how, shrink=shrink)(z)
            A[i, j] = area_under_curve(probes[t](z), y)
    return A


def labelled(train: Data, k: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """k training examples of each task, half of them true, as a data set of its own."""
    rng, found = np.random.default_rng(seed), {}
    for name, (z, y) in train.items():
        sides = [np.flatnonzero(y == c) for c in (0, 1)]
        if k < 2 or min(map(len, sides)) < k // 2:
            raise ValueError(f"{name} has {min(map(len, sides))} examples of its rarer class; "
                             f"k={k} asks for {k // 2}, and k must be at least 2.")
        rows = np.concatenate([rng.permutation(side)[:k // 2] for side in sides])
        found[name] = (z[rows], y[rows])
    return found


def signed_transfer(train: Data, test: Data, probes: Mapping[str, Probe], *, k: int,
                    seed: int = 0) -> np.ndarray:
    """AUROC (T, T) when k labels of u decide whether t's probe is read upside down.

    One bit, the least that labels can add, and one that no label-blind map can know.
    """
    few, A = labelled(train, k, seed), np.empty((len(probes), len(probes)))
    for i, t in enumerate(probes):
        for j, u in enumerate(probes):
            z, y = few[u]
            sign = 1 if area_under_curve(probes[t](z), y) >= 0.5 else -1
            A[i, j] = area_under_curve(sign * probes[t](test[u][0]), test[u][1])
    return A


def few_labels(train: Data, test: Data, *, k: int, C: float = 3e-3, seed: int = 0) -> np.ndarray:
    """AUROC (T,) of a fresh probe on k labelled examples of each task."""
    fresh = {t: newton_probe(*few, C=C) for t, few in labelled(train, k, seed).items()}
    return np.array([area_under_curve(fresh[t](z), y) for t, (z, y) in test.items()])
