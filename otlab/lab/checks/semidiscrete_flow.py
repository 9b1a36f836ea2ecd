"""Checks for exercises on semidiscrete couplings: properties, on random problems."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from otlab.lab.checks.demand import demand, shaped


def semidual(answer: Callable) -> None:
    """answer(g, x, y) → mean_j g_j − mean_i max_j [⟨x_i, y_j⟩ + g_j], for equal weights.

    Demands the value, the gradient 1/N − share received, concavity, and that a constant added
    to g changes nothing.
    """
    rng = np.random.default_rng(0)
    for B, N, d in ((50, 7, 2), (200, 30, 5)):
        x, y, g, h = (jnp.asarray(rng.normal(size=s), jnp.float32)
                      for s in ((B, d), (N, d), (N,), (N,)))
        z = np.asarray(x) @ np.asarray(y).T + np.asarray(g)
        want = float(np.asarray(g).mean() - z.max(1).mean())
        got = float(shaped(answer(g, x, y), (), "one number for g (N,), x (B, d), y (N, d)"))
        demand(np.isclose(got, want, atol=1e-4),
                f"with B={B}, N={N} the semidual is {want:.4f}; yours gives {got:.4f}. It is "
                "⟨b, g⟩ minus the mean of the best score.")
        received = np.bincount(z.argmax(1), minlength=N) / B
        slope = np.asarray(jax.grad(answer)(g, x, y))
        demand(np.abs(slope - (1 / N - received)).max() < 1e-4,
                "the gradient is share owed minus share received; yours differs by "
                f"{np.abs(slope - (1 / N - received)).max():.3f}. Take the hard maximum.")
        middle, chord = (float(v) for v in (answer((g + h) / 2, x, y),
                                            (answer(g, x, y) + answer(h, x, y)) / 2))
        demand(middle >= chord - 1e-4, f"a concave function lies above its chords; yours has "
                f"{middle:.4f} below {chord:.4f}.")
        moved = float(answer(g + 3, x, y))
        demand(np.isclose(moved, got, atol=1e-3), "adding 3 to every bonus changes no cell and "
                f"must not change the value; yours moved from {got:.4f} to {moved:.4f}.")
    print("semidual: right value, gradient and invariance, and concave.")


def unbiased_chi2(answer: Callable) -> None:
    """answer(s, b) → unbiased estimate of sum_j m_j² / b_j − 1, from rows s (B, N), weights b (N,).

    Compares with the mean over all pairs of different rows, and with the truth over many draws.
    """
    rng = np.random.default_rng(1)
    for B, N in ((2, 3), (9, 5), (40, 12)):
        s, b = rng.dirichlet(np.full(N, 0.3), size=B), rng.dirichlet(np.full(N, 4.0))
        gram = (s / b) @ s.T
        want = (gram.sum() - np.trace(gram)) / (B * (B - 1)) - 1
        got = float(shaped(answer(jnp.asarray(s), jnp.asarray(b)), (), "one number for s, b"))
        demand(np.isclose(got, want, rtol=1e-3, atol=1e-3),
                f"with {B} rows the mean over pairs of different rows is {want:.4f}; yours gives "
                f"{got:.4f}. Leave out each row's pair with itself, and divide by b_j.")
    m, b = rng.dirichlet(np.full(6, 3.0)), np.full(6, 1 / 6)
    draws = [float(answer(jnp.eye(6)[rng.choice(6, 8, p=m)], jnp.asarray(b))) for _ in range(400)]
    truth, spread = 6 * (m**2).sum() - 1, np.std(draws) / 20
    demand(abs(np.mean(draws) - truth) < 5 * spread,
            f"over 400 histograms of 8 points its mean is {np.mean(draws):.3f}, where the truth is "
            f"{truth:.3f}: it is biased.")
    print("unbiased_chi2: equal to the mean over pairs of different rows.")


def two_atom_correction(answer: Callable) -> None:
    """answer(t, x, epsilon) → δ at x for atoms −1 and 1, equal weights, g = 0.

    Compares with what the numerical score of ρ_t demands: δ = (1 − t) ∇log ρ_t − t v_t + x.
    """
    y, h = np.array([-1.0, 1.0]), 1e-4

    def parts(t, x, epsilon):
        x0 = (x - t * y) / (1 - t)
        s = 1 / (1 + np.exp(-2 * x0 * y / epsilon))
        w = np.exp(-x0 * x0 / 2) * s
        return w, ((w * (y - x0)).sum() / w.sum())

    for t, x, epsilon in ((0.3, 0.4, 0.5), (0.6, -0.2, 1.0), (0.5, 1.3, 2.0), (0.2, 0.0, 0.7)):
        slope = (np.log(parts(t, x + h, epsilon)[0].sum())
                 - np.log(parts(t, x - h, epsilon)[0].sum())) / (2 * h)
        want = (1 - t) * slope - t * parts(t, x, epsilon)[1] + x
        got = float(shaped(answer(t, x, epsilon), (), "one number for t, x, epsilon"))
        demand(np.isclose(got, want, atol=2e-3),
                f"at t={t}, x={x}, ε={epsilon} the score demands δ = {want:.4f}; yours is "
                f"{got:.4f}. Weights: φ(x0) s_j(x0) at x0 = (x − t y_j)/(1 − t).")
    print("two_atom_correction: gives the score of ρ_t, found by differences.")


def step_factor(factor: float, *, tolerance: float = 0.1) -> None:
    """The factor by which the step must grow from N to 2N atoms, against two simulated runs.

    Atoms on a line, then each with a close copy: after one expected step of the right size the
    shares of the halves must move by the same amount.
    """
    def moved(m, rate):
        y = np.repeat([-1.0, 0.2, 1.4], m) + 1e-6 * np.tile(np.arange(m), 3)
        x = np.linspace(-6, 6, 24_001)
        w = np.exp(-x * x / 2)

        def shares(g):
            owner = (x[:, None] * y + g).argmax(1)
            return np.bincount(owner, w / w.sum(), minlength=len(y))

        share = shares(np.zeros(len(y))).reshape(3, m).sum(1)
        g = np.repeat(rate * (1 / 3 - share) / m, m)  # the mean of a clump's gradients
        return shares(g).reshape(3, m).sum(1)

    base = moved(1, 0.3)
    right = min(np.linspace(0.5, 8, 76), key=lambda f: np.abs(moved(2, 0.3 * f) - base).max())
    demand(abs(factor - right) <= tolerance * right,
            f"in two runs the cells move alike at a factor of {right:.1f}; yours is {factor:g}. "
            "Each entry of the gradient is a share of the noise, and there are twice as many.")
    print(f"step_factor: {factor:g}; two runs agree at {right:.1f}.")


def nearest_form(answer: Callable) -> None:
    """answer(x, y, g) → (B, d+1) and (N, d+1) whose nearest neighbours are the owners."""
    rng = np.random.default_rng(3)
    for B, N, d in ((60, 9, 2), (100, 40, 6)):
        x, y, g = (jnp.asarray(s * rng.normal(size=n), jnp.float32)
                   for s, n in ((1, (B, d)), (2, (N, d)), (1.5, (N,))))
        got = answer(x, y, g)
        demand(isinstance(got, tuple | list) and len(got) == 2, "return two arrays: noise, atoms")
        a = shaped(got[0], (B, d + 1), f"noise of shape ({B}, {d + 1})")
        z = shaped(got[1], (N, d + 1), f"atoms of shape ({N}, {d + 1})")
        demand(np.isfinite(a).all() and np.isfinite(z).all(),
                "a coordinate is not finite: under the root must stand nothing negative.")
        near = ((a[:, None] - z) ** 2).sum(-1).argmin(1)
        owner = (np.asarray(x) @ np.asarray(y).T + np.asarray(g)).argmax(1)
        demand((near == owner).mean() > 0.99,
                f"the nearest atom owns {100 * (near == owner).mean():.0f} % of {B} noise points; "
                "make |y_j|² + 2 g_j plus the new square the same for all atoms.")
    print("nearest_form: the nearest atom is the owner.")
