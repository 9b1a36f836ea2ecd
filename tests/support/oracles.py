"""Answers known by another road: exact, closed-form, or plain NumPy in float64."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp


def exact_assignment(C):
    """The permutation j (n,) that minimises the mean of C[i, j[i]], and that mean."""
    rows, j = linear_sum_assignment(np.asarray(C, np.float64))
    return j, np.asarray(C, np.float64)[rows, j].mean()


def sorted_cost(x, y):
    """Exact squared-distance cost of two one-dimensional clouds of equal size and weight."""
    return np.mean((np.sort(np.ravel(x)) - np.sort(np.ravel(y))) ** 2)


def squared(x, y):
    """|x_i - y_j|^2 in float64, by differences."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return ((x[:, None] - y) ** 2).sum(-1)


def dot(x, y):
    """-<x_i, y_j> in float64."""
    return -np.asarray(x, np.float64) @ np.asarray(y, np.float64).T


def sinkhorn_float64(C, a, b, epsilon, steps=5_000):
    """Potentials and plan of min <P, C> + epsilon KL(P | a b^T), dense, float64."""
    C, a, b = (np.asarray(v, np.float64) for v in (C, a, b))
    with np.errstate(divide="ignore"):
        log_a, log_b = np.log(a), np.log(b)
    g = np.zeros(C.shape[1])
    for _ in range(steps):
        f = -epsilon * logsumexp((g - C) / epsilon + log_b, axis=1)
        g_new = -epsilon * logsumexp((f[:, None] - C) / epsilon + log_a[:, None], axis=0)
        done, g = np.abs(g_new - g).max() < 1e-13 * np.abs(C).max(), g_new
        if done:
            break
    return f, g, a[:, None] * b * np.exp((f[:, None] + g - C) / epsilon)


def plan_float64(result, C):
    """The plan of a SinkhornResult, recomputed in float64 from its potentials."""
    f, g, a, b = (np.asarray(v, np.float64) for v in (result.f, result.g, result.a, result.b))
    return a[:, None] * b * np.exp((f[:, None] + g - C) / float(result.epsilon))


def gaussian_entropic(s, t, epsilon):
    """Entropic transport of N(0, s^2) to N(0, t^2) on the line, cost |x - y|^2.

    Returns the covariance c of the optimal pair, KL(P | a b^T), and the curvatures (f2, g2) of
    the potentials f(x) = f2 x^2 + const, g(y) = g2 y^2 + const. The optimal pair is Gaussian
    and its inverse covariance has -2 / epsilon off the diagonal, hence
    c^2 + (epsilon / 2) c = s^2 t^2.
    """
    c = -epsilon / 4 + np.sqrt(epsilon**2 / 16 + s**2 * t**2)
    det = s**2 * t**2 - c**2
    kl = -0.5 * np.log1p(-(c**2) / (s**2 * t**2))
    f2 = 1 + epsilon / 2 * (1 / s**2 - t**2 / det)
    g2 = 1 + epsilon / 2 * (1 / t**2 - s**2 / det)
    return c, kl, f2, g2
