"""Simple ReFlow: its improvements as the switches of one object."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import positive, positive_int
from otlab.flows.objectives import FlowMatching, uniform
from otlab.flows.reflow.pairs import Mixture
from otlab.flows.reflow.times import SigmoidGrid
from otlab.flows.sampling import EVALUATIONS, METHODS, euler
from otlab.learning.loop import with_step
from otlab.learning.nets.mlp import Velocity, time_embedding


class Normalised(eqx.Module):
    """Weight 1 / (r + floor) of a squared gap r: the loss forgets the scale of its terms.

    Without a floor the gradient is that of log r. Give the floor in squared length, far below
    the residuals that still teach something. Source: arXiv 2410.07815, improvement 1.
    """

    floor: Float[Array, ""]

    def __init__(self, floor):
        self.floor = jnp.asarray(positive("floor", floor, "A pair learned by heart has r = 0 and "
                                          "would weigh infinitely."), jnp.float32)

    def __call__(self, t, squares):
        """w of times and squares, both (n,)."""
        return 1 / (squares + self.floor.astype(squares.dtype))


def denoiser_weight(t, squares):
    """(1 - t)^2: velocity gaps weigh as gaps of the denoiser x + (1 - t) v do (w = 1 there)."""
    return (1 - t) ** 2


class HighPass(eqx.Module):
    """phi(x) = x + strength (x - 3x3 mean of x), for flat grey images (h*w,).

    Linear, with eigenvalues between 1 and 1 + 4/3 strength or so: invertible, hence the
    minimiser of the loss stays where it was. The border repeats. Source: arXiv 2410.07815,
    improvement 3; filter and strength are ours.
    """

    strength: Float[Array, ""]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int], strength):
        self.shape, self.strength = tuple(shape), jnp.asarray(strength, jnp.float32)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        h, w = self.shape
        padded = jnp.pad(x.reshape(h, w), 1, mode="edge")
        mean = sum(padded[i:i + h, j:j + w] for i in range(3) for j in range(3)) / 9
        return x + self.strength.astype(x.dtype) * (x - mean.reshape(-1))


class Dropped(eqx.Module):
    """A Velocity whose hidden units are dropped with probability `rate`: v(t, x, key)."""

    model: Velocity
    rate: Float[Array, ""]

    def __call__(self, t, x, key):
        net, keep = self.model.mlp, (1 - self.rate).astype(x.dtype)
        z = jnp.concatenate([x, time_embedding(jnp.asarray(t, x.dtype),
                                               self.model.time_features)])
        for layer, k in zip(net.layers[:-1], jax.random.split(key, len(net.layers) - 1),
                            strict=True):
            z = net.activation(layer(z))
            z = jnp.where(jax.random.uniform(k, z.shape, z.dtype) < keep, z / keep, 0)
        return net.layers[-1](z)


class WithDropout(eqx.Module):
    """An objective whose model drops hidden units, other ones for every pair of the batch."""

    objective: Callable
    rate: Float[Array, ""]

    def __call__(self, key, model, x0, x1, *, step=None) -> Float[Array, ""]:
        """The loss; `model` is an unconditional `Velocity`."""
        key_loss, key_units = jax.random.split(key)
        return with_step(self.objective, step)(key_loss, Dropped(model, self.rate), x0, x1,
                                               jax.random.split(key_units, len(x0)))


class FinalEuler(eqx.Module):
    """A method whose last step, the one that ends at t = 1, is Euler's: one evaluation less."""

    method: Callable

    def __call__(self, v, t, x, dt):
        last = t + dt > 1 - 1e-6
        return jax.lax.cond(last, lambda x: euler(v, t, x, dt),
                            lambda x: self.method(v, t, x, dt), x)


class Recipe(eqx.Module):
    """Seven ways to improve ReFlow; the defaults switch all of them off.

    weight: 1. None, `Normalised(floor)`, `denoiser_weight`, or any (t, squares) -> w.
    times: 2. the law of t, such as `Exponential(10)` or `Cosh(4)`.
    feature: 3. a linear invertible map of a gap, such as `HighPass((8, 8), 1.0)`.
    dropout: 4. share of hidden units dropped in training, for `Velocity` networks.
    share: 5. of inverted pairs in a batch; improvement 6 is in the pairs themselves, see
        `projection.project`.
    solver, kappa: 7. a method of `sampling.sample`, and how far the grid is crowded to its ends.
    anneal: SlimFlow's own switch, the steps over which the noise end is blurred less and less.

    Source: Kim et al. (2024), arXiv 2410.07815; time runs the other way there.
    """

    weight: Callable | None = None
    times: Callable = uniform
    feature: Callable | None = None
    dropout: float = 0.0
    share: float = 0.0
    solver: Callable | str = "euler"
    kappa: float = 0.0
    anneal: int = 0

    def __check_init__(self):
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share in [0, 1); got {self.dropout}.")

    @property
    def objective(self):
        """What `learning.fit.fit(objective=)` takes."""
        loss = FlowMatching(times=self.times, weight=self.weight, feature=self.feature)
        return WithDropout(loss, jnp.asarray(self.dropout, jnp.float32)) if self.dropout else loss

    def training(self, generated, inverted=None, *, batch: int) -> dict:
        """What `fit.fit` takes by name besides steps and rate: source, batch, objective."""
        pairs = Mixture(generated, inverted, share=self.share, batch=batch, anneal=self.anneal)
        return {"source": pairs, "batch": batch, "objective": self.objective}

    def sampling(self, evaluations: int) -> dict:
        """Arguments of `sampling.sample` that spend exactly this many evaluations of v.

        A second-order solver with an odd number of them ends in one Euler step.
        """
        evaluations = positive_int("evaluations", evaluations)
        cost = EVALUATIONS.get(self.solver, 2) if isinstance(self.solver, str) else 2
        if cost == 1:
            return {"times": SigmoidGrid(evaluations, self.kappa), "method": self.solver}
        if cost > 2:
            raise ValueError(f"solver={self.solver!r} spends {cost} evaluations a step; take one "
                             "of order one or two.")
        grid = SigmoidGrid((evaluations + 1) // 2, self.kappa)
        solver = METHODS.get(self.solver) if isinstance(self.solver, str) else self.solver
        return {"times": grid, "method": FinalEuler(solver) if evaluations % 2 else solver}
