"""Checks for exercises on maps of activations: properties on random samples, in NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import numpy as np

from otlab.lab.checks.demand import demand, shaped


def _columns():
    """Samples a, b of one neuron, equal in number, named."""
    rng = np.random.default_rng(0)
    for n in (40, 400):
        yield "two Gaussians", rng.normal(1, 1, n), rng.normal(-1, 3, n)
        yield "a Gaussian and an exponential law", rng.normal(0, 2, n), rng.exponential(1.0, n)
        yield "two heaps and a Gaussian", rng.choice([-3, 3], n) + rng.normal(0, 0.3, n), \
            rng.normal(5, 1, n)


def slope(answer: Callable) -> None:
    """answer(a, b) → slope of the least-squares line through the sorted pairs, for a, b (n,).

    Demands it on samples of several laws, in any order, and that it is never negative.
    """
    for name, a, b in _columns():
        got = float(shaped(answer(a, b), (), "one number for samples a and b (n,)"))
        x, y = np.sort(a), np.sort(b)
        want = np.polyfit(x, y, 1)[0]
        demand(np.isclose(got, want, rtol=1e-3),
                f"for {name} the slope is {want:.3f}; yours gives {got:.3f}. It is r σ_b / σ_a, "
                "with r the correlation of the sorted samples, and not of the samples.")
        back = float(answer(a[::-1], b))
        demand(np.isclose(got, back, rtol=1e-6), f"for {name} the order of the samples changed "
                f"the slope from {got:.3f} to {back:.3f}: sort both.")
    print("slope: right for six pairs of samples, whatever their order.")


def quantile_map(answer: Callable) -> None:
    """answer(a, b) → function T of arrays: monotone, through (a_(i), b_(i)), linear in between."""
    for name, a, b in _columns():
        T = answer(a, b)
        demand(callable(T), f"return a function; got {type(T).__name__}.")
        x, y = np.sort(a), np.sort(b)
        demand(np.allclose(shaped(T(a), a.shape, "an array of the shape of a"),
                            y[np.argsort(np.argsort(a))]),
                f"for {name} the i-th smallest a does not arrive at the i-th smallest b.")
        middle = (x[1:] + x[:-1]) / 2
        demand(np.allclose(T(middle), (y[1:] + y[:-1]) / 2),
                f"for {name} the map is not linear between neighbours.")
        demand((np.diff(T(np.linspace(x[0] - 1, x[-1] + 1, 50))) >= 0).all(),
                f"for {name} the map falls somewhere, outside of the sample perhaps.")
    print("quantile_map: monotone, through every matched pair, linear in between.")


def folded(answer: Callable) -> None:
    """answer(W, c, omega, beta, strength) → (W', c') of a linear layer x → W x + c, steered.

    Demands W' x + c' = (1 − strength) z + strength (omega z + beta), z = W x + c.
    """
    rng = np.random.default_rng(1)
    for strength in (0.0, 0.7, 1.0, 1.6):
        W, c, x = rng.normal(size=(5, 4)), rng.normal(size=5), rng.normal(size=(20, 4))
        omega, beta = rng.random(5) * 2, rng.normal(size=5)
        got = answer(W, c, omega, beta, strength)
        demand(isinstance(got, tuple) and len(got) == 2, "return a weight and a bias: (W, c).")
        W2, c2 = (shaped(v, s, "W (5, 4) and c (5,)")
                  for v, s in zip(got, ((5, 4), (5,)), strict=True))
        z = x @ W.T + c
        want = (1 - strength) * z + strength * (omega * z + beta)
        demand(np.abs(x @ W2.T + c2 - want).max() < 1e-5,
                f"at strength {strength} the folded layer differs from the steered one by "
                f"{np.abs(x @ W2.T + c2 - want).max():.2g}. ω_λ scales each row of W and the old "
                "bias too; λβ is added.")
    print("folded: the layer alone gives what layer and map gave, to 1e-5, at four strengths.")


def overfit_size(answer: Callable) -> None:
    """answer() → (n, errors of the affine map, errors of the quantile map), arrays (k,).

    On laws that are affine images of each other: demands that the quantile map is the worse one
    at the smallest n, and that both errors fall.
    """
    n, affine, quantile = (np.asarray(v, float) for v in answer())
    demand(n.ndim == 1 and len(n) >= 2 and affine.shape == quantile.shape == n.shape,
            "return three arrays of one length of at least two.")
    k = np.argsort(n)
    demand(quantile[k[0]] > affine[k[0]], "at the smallest n your quantile map is no worse: are "
            "the errors measured on fresh points, and are the laws affine images of each other?")
    demand(affine[k[-1]] < affine[k[0]] and quantile[k[-1]] < quantile[k[0]],
            "the errors do not fall with n; average over more draws.")
    print("overfit_size: the free map needs more samples than the affine one.")
