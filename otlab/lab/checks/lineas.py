"""Checks for exercises on maps learned end to end: properties on random samples, in NumPy.

Each prints one line when the answer passes and raises AssertionError
with the property that fails.
"""

from collections.abc import Callable

import numpy as np

from otlab.lab.checks.demand import demand, shaped


def _w2(u, v):
    """Mean over columns of the squared W2 of equal samples u, v (n, d)."""
    return ((np.sort(u, 0) - np.sort(v, 0)) ** 2).mean()


def one_layer(answer: Callable) -> None:
    """answer(a, b) → (omega, beta) that minimise the loss of one neuron over omega > 0.

    a, b: (n,) samples. Demands that no positive scale, and no other shift, does better.
    """
    rng = np.random.default_rng(0)
    for name, a, b in (("two Gaussians", rng.normal(1, 1, 60), rng.normal(-1, 3, 60)),
                       ("two skewed laws", rng.gamma(2, size=60), -rng.gamma(3, size=60)),
                       ("unlike laws", rng.normal(size=60), rng.choice([-1.0, 4.0], 60))):
        got = shaped(answer(a, b), (2,), "two numbers, omega and beta")

        def loss(omega, beta, a=a, b=b):
            return ((np.sort(omega * a + beta) - np.sort(b)) ** 2).sum()

        demand(got[0] > 0, f"for {name} your omega is {got[0]:.3f}; take the branch omega > 0.")
        own = loss(*got)
        best = min((loss(w, b.mean() - w * a.mean()), w) for w in np.linspace(0.01, 8, 800))
        demand(own <= best[0] * 1.01 + 1e-9, f"for {name} omega = {best[1]:.2f} has a loss of "
                f"{best[0]:.2f}; yours, {got[0]:.2f}, has {own:.2f}. For omega > 0 sorting and "
                "scaling commute: what problem is left?")
    print("one_layer: no positive scale does better, for three pairs of laws.")


def prox(answer: Callable) -> None:
    """answer(v, l1, group) → argmin_u |u − v|² / 2 + l1 |u|₁ + group √d |u|₂, for v (d,).

    Demands that no nearby point does better, on vectors of several lengths.
    """
    rng = np.random.default_rng(1)
    for d in (1, 2, 6, 20):
        for l1, group in ((0.4, 0.0), (0.0, 0.4), (0.3, 0.3), (5.0, 5.0)):
            v = 1.5 * rng.normal(size=d)

            def value(u, v=v, l1=l1, group=group, d=d):
                return (0.5 * ((u - v) ** 2).sum() + l1 * np.abs(u).sum()
                        + group * np.sqrt(d * (u**2).sum()))

            u = shaped(answer(v, l1, group), (d,), f"a vector of {d} numbers")
            near = [u * (1 + h) for h in (-0.02, 0.02)] + [0 * u] + [
                u + 0.02 * s * e for e in np.eye(d) for s in (-1, 1)]
            better = min(near, key=value)
            demand(value(u) <= value(better) + 1e-9, f"with d = {d}, l1 = {l1}, group = {group} a "
                    f"point beside yours has the value {value(better):.5f}, yours {value(u):.5f}. "
                    "Which operator comes first?")
    print("prox: no nearby point does better, in 1 to 20 dimensions.")


def sliced(answer: Callable) -> None:
    """answer(u, v, directions) → mean over unit directions (k, d) of the squared W2 of u, v (n, d).

    Demands the axis-wise loss for the axes, invariance to a rotation of everything, and that
    distributions which differ in nothing but correlation are told apart.
    """
    rng = np.random.default_rng(2)
    u, v = rng.normal(size=(300, 6)), 1 + 2 * rng.normal(size=(300, 6))
    got = float(shaped(answer(u, v, np.eye(6)), (), "one number"))
    demand(np.isclose(got, _w2(u, v), rtol=1e-4), f"along the axes the mean squared W2 is "
            f"{_w2(u, v):.4f}; yours gives {got:.4f}. Mean over samples and over directions.")
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    some = rng.normal(size=(40, 6))
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    plain, turned = float(answer(u, v, some)), float(answer(u @ turn, v @ turn, some @ turn))
    demand(np.isclose(plain, turned, rtol=1e-4), f"turning samples and directions together "
            f"changed it from {plain:.4f} to {turned:.4f}: sort each projection on its own.")
    z = rng.normal(size=(2, 4_000, 2))
    tied = np.stack([z[1, :, 0], 0.9 * z[1, :, 0] + np.sqrt(1 - 0.81) * z[1, :, 1]], 1)
    ring = np.linspace(0, np.pi, 16, endpoint=False)
    found = float(answer(z[0], tied, np.stack([np.cos(ring), np.sin(ring)], 1)))
    demand(found > 0.03, f"two laws with equal columns and correlations 0 and 0.9 are {found:.4f} "
            "apart by yours; all directions should see more than 0.03.")
    print("sliced: the axes are a special case, rotations change nothing, correlation is seen.")


def debiased(answer: Callable) -> None:
    """answer(u, v) → squared W2 of u, v (n, d), less what samples of one distribution are.

    Demands that it averages to zero on equal distributions, and to the square of a shift.
    """
    rng = np.random.default_rng(3)
    for n in (32, 128):
        pairs = [rng.normal(size=(2, n, 40)) for _ in range(30)]
        raw = np.mean([_w2(u, v) for u, v in pairs])
        got = np.mean([float(shaped(answer(u, v), (), "one number")) for u, v in pairs])
        demand(abs(got) < 0.25 * raw, f"two samples of one distribution, n = {n}, are {raw:.4f} "
                f"apart raw, and {got:.4f} by yours; 0 is wanted. Halves of v hold n/2 points: how "
                "does the bias depend on n?")
        moved = np.mean([float(answer(u + 0.6, v)) for u, v in pairs])
        demand(abs(moved - 0.36) < 0.04, f"after a shift of 0.6 yours gives {moved:.3f}, not "
                "0.36.")
    print("debiased: 0 between samples of one distribution, the square of a shift between others.")
