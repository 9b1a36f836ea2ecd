"""Checks for exercises on probes: each tests properties of the answer on problems it draws.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import numpy as np

from otlab.lab.checks.demand import demand, shaped


def _area(scores, y) -> float:
    """AUROC by counting pairs, ties as halves."""
    scores, y = np.asarray(scores, float), np.asarray(y)
    gap = scores[y == 1][:, None] - scores[y == 0][None]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def split_half(answer: Callable) -> None:
    """answer(tau) → large-d cosine of w + a and w + b, a and b independent noise, |w| = tau |a|.

    Compares with draws in 4,000 dimensions.
    """
    rng, d = np.random.default_rng(0), 4_000
    for tau in (0.1, 0.5, 1.0, 2.0, 8.0):
        w = rng.normal(size=d)
        w *= tau * np.sqrt(d) / np.linalg.norm(w)
        pairs = [w + rng.normal(size=(2, d)) for _ in range(20)]
        want = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
        got = float(shaped(answer(tau), (), "one cosine for a number tau"))
        demand(abs(got - want) < 0.02, f"at tau = {tau} draws give a cosine of {want:.3f}; yours "
                f"says {got:.3f}. In <w + a, w + b> three of four terms are small beside |w|²; "
                "what is the length of w + a?")
    print("split_half: as in 4,000 dimensions, for five signal-to-noise ratios.")


def pooling_breaks(answer: Callable) -> None:
    """answer(s_a, y_a, s_b, y_b) → an offset to add to s_b that ruins the pooled AUROC.

    Each task alone must keep its AUROC; the pooled one must fall below both by 0.1.
    """
    rng = np.random.default_rng(1)
    for share in (0.2, 0.5, 0.8):
        y_a, y_b = (rng.random(200) < share).astype(int), (rng.random(300) < 1 - share).astype(int)
        s_a, s_b = rng.normal(size=200) + 3 * y_a, 2 * rng.normal(size=300) + 6 * y_b
        shift = float(shaped(answer(s_a, y_a, s_b, y_b), (), "one number to add to s_b"))
        alone = min(_area(s_a, y_a), _area(s_b + shift, y_b))
        pooled = _area(np.r_[s_a, s_b + shift], np.r_[y_a, y_b])
        demand(pooled < alone - 0.1, f"with {share:.0%} of the first task true the pooled AUROC "
                f"is {pooled:.2f}, beside {alone:.2f} for the worse task alone. Pairs of one task "
                "keep their order; make pairs across tasks go wrong: which task holds more "
                "truths?")
    print("pooling_breaks: each task keeps its AUROC, the pool loses its own.")


def same_means(answer: Callable) -> None:
    """answer(delta) → covariances (S, R), (d, d) each, for one mean difference delta (d,).

    The logistic normals w = S^{-1} delta and R^{-1} delta must be nearly orthogonal, while w still
    orders the second task: AUROC Phi(<w, delta> / sqrt(2 w^T R w)) above one half.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(2)
    for d in (2, 5):
        delta = rng.normal(size=d)
        pair = answer(delta.copy())
        demand(isinstance(pair, tuple) and len(pair) == 2, "return two covariances (S, R).")
        S, R = (shaped(M, (d, d), f"covariances of shape ({d}, {d})") for M in pair)
        for M in (S, R):
            demand(np.allclose(M, M.T) and np.linalg.eigvalsh(M).min() > 0,
                    "a covariance is symmetric and positive definite.")
        w, v = np.linalg.solve(S, delta), np.linalg.solve(R, delta)
        cosine = w @ v / np.linalg.norm(w) / np.linalg.norm(v)
        demand(abs(cosine) < 0.3, f"for d = {d} the cosine of S⁻¹δ and R⁻¹δ is {cosine:.2f}; "
                "below 0.3 is wanted. Make S loud where R is quiet, and the other way round.")
        area = float(norm.cdf(w @ delta / np.sqrt(2 * w @ R @ w)))
        demand(area > 0.5, "S⁻¹δ must still order the second task.")
    print("same_means: one mean difference, two nearly orthogonal probes.")


def one_bit(answer: Callable) -> None:
    """answer(A) → chance that one true and one false example show which way a probe points.

    A: AUROC of the probe on the task, 0 to 1; below one half it reads truth upside down.
    """
    rng = np.random.default_rng(3)
    for gap in (-3.0, -0.7, 0.2, 1.0, 2.5):
        true, false = rng.normal(size=(2, 2_000)) + np.array([[gap], [0.0]])
        A = _area(np.r_[true, false], np.repeat([1, 0], 2_000))
        want = np.mean((true > false) == (A > 0.5))
        got = float(shaped(answer(A), (), "one probability for an AUROC"))
        demand(abs(got - want) < 0.03, f"at AUROC {A:.2f} a pair shows the right way in "
                f"{want:.2f} of draws; yours says {got:.2f}. AUROC is itself a chance about "
                "one true and one false example.")
    print("one_bit: as in 2,000 drawn pairs, for five probes.")
