"""Tasks with a planted truth direction each: the geometry is known before any probe sees it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Planted:
    r"""h = mu_t + D_t Lambda^{1/2} e + (y - 1/2) delta_t, with cos(delta_t, delta_u) = c.

    tasks: how many.   d: neurons.   c: planted cosine, 0 to 1.
    gap: |delta_t|, in standard deviations of the median neuron.
    spectrum: Lambda's largest over its smallest variance: a few neurons are loud.
    scales: spread of log D_t, task by task: 0 gives all tasks one covariance.
    apart: distance of the means mu_t from their centre, per root neuron.

    Source: arXiv 2506.08572 is about real activations; this model is of our notes.
    """

    tasks: int = 4
    d: int = 64
    c: float = 0.5
    gap: float = 2.0
    spectrum: float = 100.0
    scales: float = 0.4
    apart: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.c <= 1 or self.tasks + 1 > self.d:
            raise ValueError(f"Planted wants 0 <= c <= 1 and fewer tasks than neurons; got c = "
                             f"{self.c}, {self.tasks} tasks, d = {self.d}.")

    def parts(self):
        """(means (T, d), scales (T, d), directions (T, d) of length gap)."""
        rng = np.random.default_rng(self.seed)
        frame = np.linalg.qr(rng.normal(size=(self.d, self.tasks + 1)))[0].T
        delta = np.sqrt(self.c) * frame[:1] + np.sqrt(1 - self.c) * frame[1:]
        base = np.geomspace(1, self.spectrum, self.d) ** 0.5
        base = rng.permutation(base / np.median(base))
        own = np.exp(self.scales * rng.normal(size=(self.tasks, self.d)))
        return self.apart * rng.normal(size=(self.tasks, self.d)), base * own, self.gap * delta

    def draw(self, n: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """n samples a task, half of them true: name -> (h (n, d), y (n,))."""
        found = {}
        for t, (mean, scale, delta) in enumerate(zip(*self.parts(), strict=True)):
            rng = np.random.default_rng([self.seed, seed, t])
            y = np.arange(n) % 2
            noise = rng.normal(size=(n, self.d)) * scale
            found[f"task {t + 1}"] = (mean + noise + (y - 0.5)[:, None] * delta, y)
        return found
