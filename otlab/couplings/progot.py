"""Progressive entropic transport (ProgOT): small entropic steps on the way to the target."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from otlab.core.inputs import known, whole
from otlab.couplings.entropic_ot.entropic_map import entropic_map
from otlab.couplings.entropic_ot.sinkhorn import SinkhornResult, sinkhorn

KINDS = ("lin", "exp", "quad")


def alpha_schedule(kind: str, steps: int) -> Float[Array, " steps"]:
    """Step lengths, each a share of the way that is left; the last is one, which arrives.

    "lin": constant speed, 1 / (steps - k) for k = 0 … steps - 1. "exp": decelerating, 1 / e,
    then the rest. "quad": accelerating, (2k + 1) / (steps^2 - k^2), progress (k + 1)^2 / steps^2.

    Raises:
        ValueError: for another kind, or steps < 1.

    Source: arXiv 2406.05061, section 4, where K + 1 = steps.
    """
    if kind not in KINDS:
        raise ValueError(f"alpha_schedule knows {', '.join(KINDS)}; got {kind!r}.")
    if not whole(steps):
        raise ValueError(f"alpha_schedule wants a whole number of steps >= 1; got {steps!r}.")
    k = np.arange(steps)
    alphas = {
        "lin": 1 / (steps - k),
        "exp": np.where(k < steps - 1, np.exp(-1), 1),
        "quad": (2 * k + 1) / (steps**2 - k**2),
    }[kind]
    return jnp.asarray(alphas, float)


def progress(alphas) -> Float[Array, " steps"]:
    """Share of the way done when each step is over, t_k = 1 - prod_{l <= k} (1 - alpha_l)."""
    return 1 - jnp.cumprod(1 - jnp.asarray(alphas))


def epsilon_schedule(alphas, start, end, *, counted: str = "after") -> Float[Array, " steps"]:
    """epsilon_k = (1 - t_k) start + t_k end, in units of the cost.

    Args:
        alphas: step lengths, shape (steps,).
        start: epsilon far from the target; the paper has 5 default_epsilon(x, y).
        end: epsilon at the target, from `calibrate_epsilon`.
        counted: "after", t_k includes step k and the last solve runs at `end`; "before", it does
            not, and the last solve still holds a share alpha_0 = 1 / steps ("lin") of `start`:
            the slip of OTT-JAX 0.6.0, here for comparison.

    Raises:
        ValueError: for another word.

    Source: arXiv 2406.05061, Algorithm 4.
    """
    if counted not in ("after", "before"):
        raise ValueError(f"epsilon_schedule counts progress 'after' or 'before'; got {counted!r}.")
    t = progress(alphas)
    if counted == "before":
        t = jnp.concatenate([jnp.zeros(1, t.dtype), t[:-1]])
    return (1 - t) * start + t * end


def tolerance_schedule(steps: int, *, first=0.1, last=1e-3) -> Float[Array, " steps"]:
    """Tolerances falling in equal steps from first to last: early plans are thrown away."""
    return jnp.linspace(first, last, steps) if steps > 1 else jnp.full(1, last)


class ProgOTResult(eqx.Module):
    """The solve of every step, and the map that they compose.

    solves: one SinkhornResult a step; solves[k].x is the cloud where step k found it.
    alphas: step lengths, shape (steps,).
    """

    solves: tuple[SinkhornResult, ...]
    alphas: Float[Array, " steps"]

    def _each(self, name):
        return jnp.stack([getattr(solve, name) for solve in self.solves])

    @property
    def epsilons(self) -> Float[Array, " steps"]:
        """Regularisation of each solve, in units of |x - y|^2."""
        return self._each("epsilon")

    @property
    def potentials(self) -> tuple[Float[Array, "steps n"], Float[Array, "steps m"]]:
        """(f, g) of each solve, in units of |x - y|^2; the map needs g alone."""
        return self._each("f"), self._each("g")

    @property
    def positions(self) -> Float[Array, "steps n d"]:
        """The source cloud as each solve found it; positions[0] is x."""
        return self._each("x")

    @property
    def sweeps(self) -> Int[Array, " steps"]:
        """Sinkhorn sweeps of each solve."""
        return self._each("steps")

    @property
    def status(self) -> Int[Array, " steps"]:
        """A `Status` code for each solve, against the tolerance of its own step."""
        return self._each("status")

    def path(self, z, *, block: int | None = None) -> Float[Array, "steps+1 k d"]:
        """Points z (k, d) on their way: where each step finds them, then where they arrive."""
        stops = [jnp.asarray(z)]
        for solve, alpha in zip(self.solves[:-1], self.alphas[:-1], strict=True):
            stops.append(_step(solve, stops[-1], alpha, block))
        stops.append(entropic_map(self.solves[-1], stops[-1], block=block))
        return jnp.stack([stop.astype(stops[-1].dtype) for stop in stops])

    def map(self, z, *, block: int | None = None) -> Float[Array, "k d"]:
        """Where points z (k, d) arrive: the composed map, defined in and out of the sample."""
        return self.path(z, block=block)[-1]

    def plan(self) -> Float[Array, "n m"]:
        """The coupling of the last solve: on the way along the true map nobody changes partner."""
        return self.solves[-1].plan()

    def require_converged(self) -> "ProgOTResult":
        """Return self, or raise RuntimeError naming the step and what to change."""
        for k, solve in enumerate(self.solves, 1):
            try:
                solve.require_converged()
            except RuntimeError as error:
                raise RuntimeError(f"progot, step {k} of {len(self.solves)}: {error}") from None
        return self


def _step(solve, x, alpha, block=None):
    """(1 - alpha) x + alpha E(x), from the current point x, never from where it began."""
    moved = entropic_map(solve, x, block=block)
    return (1 - alpha.astype(moved.dtype)) * x + alpha.astype(moved.dtype) * moved


def progot(x, y, *, epsilons, alphas, tols=None, a=None, b=None, max_steps=2_000, warm=True,
           block=None, method="auto") -> ProgOTResult:  # fmt: skip
    """Map x to y in steps: solve, go a share alpha of the way to E(x), solve again from there.

    Args:
        x, y: source (n, d) and target (m, d) points; a, b: their weights, equal when None.
        epsilons: one a step, in units of |x - y|^2; see `epsilon_schedule`.
        alphas: one a step, in (0, 1]; see `alpha_schedule`. The last one is not used, as the
            map ends with the last E itself.
        tols: one a step; tolerance_schedule(steps) when None.
        warm: start each solve from (1 - alpha) g of the one before: g shrinks with the way left.
        max_steps, block, method: of each solve, as in `sinkhorn`.

    Returns:
        ProgOTResult. It does not raise when a solve ends early: call .require_converged().

    Raises:
        ValueError: for schedules that do not fit, and for what `sinkhorn` refuses.

    Compiled once for the shapes of x and y, whatever the number of steps; under an outer `jit`
    the steps are unrolled.

    Source: arXiv 2406.05061, Algorithms 2 and 3.
    """
    alphas, epsilons = jnp.asarray(alphas), jnp.asarray(epsilons)
    if alphas.ndim != 1 or len(alphas) == 0:
        raise ValueError(f"progot wants one alpha a step; got shape {alphas.shape}.")
    tols = tolerance_schedule(len(alphas)) if tols is None else jnp.asarray(tols)
    for name, values in (("epsilons", epsilons), ("tols", tols)):
        if values.shape != alphas.shape:
            raise ValueError(
                f"progot wants {name} of shape {alphas.shape}, one a step like alphas; got "
                f"{values.shape}. For a constant: jnp.full({len(alphas)}, value)."
            )
    if known(alphas) and not ((host := np.asarray(alphas)) * (host <= 1) > 0).all():
        raise ValueError(f"progot wants alphas in (0, 1], shares of the way left; got {alphas}.")
    settings = dict(a=a, b=b, max_steps=max_steps, block=block, method=method)
    solves = [sinkhorn(x, y, epsilon=epsilons[0], tol=tols[0], **settings)]
    for k in range(1, len(alphas)):
        last, alpha = solves[-1], alphas[k - 1]
        init = (1 - alpha.astype(last.g.dtype)) * last.g if warm else None
        x = _step(last, last.x, alpha, block)
        solves.append(sinkhorn(x, y, epsilon=epsilons[k], tol=tols[k], init=init, **settings))
    return ProgOTResult(tuple(solves), alphas)
