"""Maps fitted to two clouds: a fitting loss plus the Monge gap; networks for costs and spheres."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from otlab.core.costs import paired_cost
from otlab.core.inputs import all_finite, known, number, positive, positive_int
from otlab.core.linalg import gaussian_matrix
from otlab.couplings.entropic_ot.divergence import sinkhorn_divergence
from otlab.couplings.monge_gap import conservativity, monge_gap
from otlab.learning import loop
from otlab.learning.fit import fit as train
from otlab.learning.loop import TrainState, init
from otlab.learning.nets import initial

__all__ = ["Affine", "MapFit", "Objective", "SphereMap", "StructuredMap", "fit", "gaussian_map",
           "init", "small_network", "step"]


class Affine(eqx.Module):
    """x -> A x + b, for one point."""

    A: Float[Array, "d d"]
    b: Float[Array, " d"]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The image of one point."""
        return self.A @ x + self.b


def gaussian_map(x, y) -> Affine:
    r"""The optimal map between the Gaussians with the moments of x (n, d) and y (m, d).

    A = S_x^{-1/2} (S_x^{1/2} S_y S_x^{1/2})^{1/2} S_x^{-1/2}, b = mean(y) - A mean(x), for the
    squared distance. Directions in which x has no variance are left out of A.

    Source: Peyre and Cuturi (2019), equation 2.40 and remark 2.31.
    """
    if jnp.ndim(x) != 2 or jnp.ndim(y) != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"gaussian_map wants x (n, d) and y (m, d) of two points or more; got "
                         f"{jnp.shape(x)} and {jnp.shape(y)}.")

    xc, yc = x - x.mean(0), y - y.mean(0)
    A = gaussian_matrix(xc.T @ xc / len(x), yc.T @ yc / len(y), least=1e-6)
    return Affine(A, y.mean(0) - A @ x.mean(0))


class StructuredMap(eqx.Module):
    r"""T(x) = x - grad h*(F(x)) for the cost h(x - y) = sum_k |x_k - y_k|^p, p > 1.

    F(x) = grad h(x - start(x)) + MLP(x): with the last layer small, T begins at `start`. The
    optimal F is the gradient of a potential: add `conservativity(key, model.field, x)`.

    Args:
        d: dimension.
        p: exponent of the cost; 2 is the squared distance, where T(x) = x - F(x) / 2.
        width, depth: hidden units and layers.
        start: map of one point to begin at, such as `gaussian_map(x, y)`, kept fixed; None is
            the identity.
        scale: factor on the initial last layer.
        key: PRNG key of the weights.

    Raises:
        ValueError: for p <= 1, where h is not strictly convex and grad h* is no function.

    Source: Uscidda and Cuturi (2023), arXiv 2302.04953, equations 6 and 14.
    """

    mlp: eqx.nn.MLP
    start: Callable | None
    p: float = eqx.field(static=True)

    def __init__(self, d: int, *, p: float = 2.0, width: int = 64, depth: int = 2, start=None,
                 scale: float = 0.1, key):
        if not p > 1:
            raise ValueError(f"StructuredMap wants p > 1; got {p!r}. With p = 1 the cost has flat "
                             "pieces and many optimal maps: use a plain network and the gap.")
        self.p, self.start = float(p), start
        self.mlp = small_network(d, width, depth, scale, key)

    def field(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """F(x), a gradient field when the map is optimal."""
        if self.start is None:
            return self.mlp(x)
        start = jax.lax.stop_gradient(eqx.filter(self.start, eqx.is_array))
        start = eqx.combine(start, eqx.filter(self.start, eqx.is_array, inverse=True))
        z = x - start(x)
        return self.p * _power(z, self.p - 1) + self.mlp(x)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """T(x) of one point; jax.vmap for many."""
        return x - _power(self.field(x) / self.p, 1 / (self.p - 1))


class SphereMap(eqx.Module):
    """T(x) = F(x) / |F(x)| on unit vectors; F(x) = x + MLP(x), or the MLP alone.

    Args:
        d: dimension of the space around the sphere.
        residual: True begins near the identity, False anywhere.
        width, depth, scale, key: as in `StructuredMap`.

    Source: Uscidda and Cuturi (2023), arXiv 2302.04953, section 5 (figure 4).
    """

    mlp: eqx.nn.MLP
    residual: bool = eqx.field(static=True)

    def __init__(self, d: int = 3, *, residual: bool = True, width: int = 64, depth: int = 2,
                 scale: float = 0.1, key):
        self.mlp, self.residual = small_network(d, width, depth, scale, key), bool(residual)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """T(x), a unit vector."""
        F = self.mlp(x) + x if self.residual else self.mlp(x)
        return F / jnp.sqrt(jnp.maximum(jnp.sum(F * F), 1e-12))


def small_network(d: int, width: int, depth: int, scale: float, key) -> eqx.nn.MLP:
    """A silu MLP of R^d into itself whose last layer is multiplied by `scale`."""
    mlp = initial.mlp(positive_int("d", d), d, positive_int("width", width),
                      positive_int("depth", depth), activation=jax.nn.silu, key=key)
    last = mlp.layers[-1]
    return eqx.tree_at(lambda m: (m.layers[-1].weight, m.layers[-1].bias), mlp,
                       (scale * last.weight, scale * last.bias))


def _power(z, q):
    """sign(z) |z|^q, with gradient zero at zero."""
    zero = z == 0
    return jnp.where(zero, 0, jnp.sign(z) * jnp.abs(jnp.where(zero, 1, z)) ** q)


class Objective(eqx.Module):
    """Delta(T#mu, nu) + gap M(T) + spending mean c(x, T x) + curl C(F), a term per weight.

    epsilon: of the gap, in units of `cost`; about 1 % of its mean over the data.
    epsilon_fit: of the Sinkhorn divergence Delta, in units of `fit_cost`; 5 to 10 %.
    gap, spending, curl: weights; None leaves the term out, zero only reports it.
    cost: of the gap and of what is spent.   fit_cost: of Delta.
    tol, max_steps: of every Sinkhorn solve.

    Source: Uscidda and Cuturi (2023), equation 12; `spending` is the naive penalty that the
    paper argues against.
    """

    epsilon: Array
    epsilon_fit: Array
    gap: Array | None
    spending: Array | None
    curl: Array | None
    cost: str | Callable = eqx.field(static=True)
    fit_cost: str | Callable = eqx.field(static=True)
    tol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(self, *, epsilon, epsilon_fit, gap=None, spending=None, curl=None,
                 cost="sqeuclidean", fit_cost="sqeuclidean", tol=1e-3, max_steps=2_000):
        for name, value in {"epsilon": epsilon, "epsilon_fit": epsilon_fit}.items():
            positive(name, value, "In units of the cost: 0.01 * mean_cost(x, y, cost=cost), say.")
            setattr(self, name, jnp.asarray(value))  # filter_jit compiles for each Python number
        for name, value in {"gap": gap, "spending": spending, "curl": curl}.items():
            if value is not None:
                number(name, value, lambda v: (v >= 0) & (v < np.inf),
                       "a weight >= 0, or None to leave the term out")
            setattr(self, name, None if value is None else jnp.asarray(value))
        self.cost, self.fit_cost, self.tol, self.max_steps = cost, fit_cost, tol, max_steps

    def __call__(self, key, model, x, y):
        """(loss, info) on a batch x (n, d), y (m, d); info has one number a term.

        info["unconverged"] counts Sinkhorn solves that missed tol.
        """
        Tx = jax.vmap(model)(x)
        solver = dict(tol=self.tol, max_steps=self.max_steps)
        fit = sinkhorn_divergence(Tx, y, epsilon=self.epsilon_fit, cost=self.fit_cost, **solver)
        info, ends = {"divergence": fit.value}, [r.status for r in fit.results]
        loss = fit.value
        if self.gap is not None:
            gap = monge_gap(x, Tx, epsilon=self.epsilon, cost=self.cost, **solver)
            info["excess"] = gap.excess
            ends.append(gap.result.status)
            loss += self.gap.astype(loss.dtype) * gap.value
        if self.spending is not None:
            info["spent"] = jnp.mean(paired_cost(x, Tx, cost=self.cost))
            loss += self.spending.astype(loss.dtype) * info["spent"]
        if self.curl is not None:
            info["curl"] = conservativity(key, getattr(model, "field", model), x)
            loss += self.curl.astype(loss.dtype) * info["curl"]
        return loss, info | {"loss": loss, "unconverged": jnp.sum(jnp.stack(ends) != 0)}


def step(key, state: TrainState, x, y, objective: Objective):
    """One gradient step on the batch x (n, d), y (m, d); pure: wrap it in eqx.filter_jit.

    state: from `init(model, optimizer)`, with any optax optimiser, or the step before. Returns
    (state, info), info as of `Objective` and "gradient_norm".
    """
    return loop.step(key, state, x, y, objective=objective)


class MapFit(eqx.Module):
    """A fitted map and, for every step, each number of `Objective`'s info, shape (steps,)."""

    model: eqx.Module
    history: dict[str, Float[Array, " steps"]]

    def require_converged(self) -> "MapFit":
        """Return self, or raise RuntimeError: a loss was lost, or solves missed their tol."""
        bad = ~np.isfinite(np.asarray(self.history["loss"]))
        if bool(bad.any()):
            raise RuntimeError(f"fit lost its loss (not finite) at step {int(np.argmax(bad))} of "
                               f"{len(bad)}; lower rate (try a tenth) or look at the clouds.")
        missed = int(self.history["unconverged"].sum())
        if missed:
            raise RuntimeError(f"{missed} Sinkhorn solves in {len(bad)} steps missed tol; raise "
                               "max_steps, epsilon or tol of the Objective.")
        return self


def fit(key, model, x, y, objective: Objective, *, steps: int, batch: int, rate) -> MapFit:
    """Minimise the objective on `steps` fresh batches: Adam, cosine-decayed to zero.

    Args:
        key: PRNG key of the batches and directions.
        model: a map of one point; a copy is fitted.
        x, y: clouds (N, d) and (M, d) of which each step draws `batch` rows with replacement,
            or functions (key, batch) -> (batch, d). Make such a function once: each new one
            is compiled anew.
        objective: what to minimise; its numbers are traced, new values compile nothing.
        steps, batch: how many steps, on how many points.
        rate: learning rate at the first step.

    Raises:
        ValueError: for steps or batch below one, a rate <= 0, clouds that are empty or NaN.
    """
    steps, batch = positive_int("steps", steps), positive_int("batch", batch)
    for name, cloud in (("x", x), ("y", y)):
        if callable(cloud) or not known(cloud):
            continue
        if jnp.ndim(cloud) != 2 or 0 in cloud.shape or not all_finite(cloud):
            raise ValueError(f"fit wants {name} finite, of shape (N, d), with a point at least; "
                             f"got shape {jnp.shape(cloud)}. Drop rows that hold NaN.")
    done = train(key, model, Clouds(key, x, y, batch), objective=OnClouds(key, objective),
                 steps=steps, batch=batch, rate=rate)
    return MapFit(done.model, done.told | {"loss": done.losses})


def _keys(key, step):
    """Keys of x, of y and of the objective at a step: what saved maps were fitted with."""
    return jax.random.split(jax.random.fold_in(key, step.count), 3)


class Clouds(eqx.Module):
    """Draws a batch of x and, apart from it, one of y; see `fit`."""

    key: Array
    x: Array | Callable
    y: Array | Callable
    batch: int = eqx.field(static=True)

    def __call__(self, key, *, step):
        """(x, y), shape (batch, d) each; by the key of the run and the number of the step."""
        def draw(key, cloud):
            if callable(cloud):
                return cloud(key, self.batch)
            return cloud[jax.random.randint(key, (self.batch,), 0, len(cloud))]

        key_x, key_y, _ = _keys(self.key, step)
        return draw(key_x, self.x), draw(key_y, self.y)


class OnClouds(eqx.Module):
    """An `Objective` with the keys that go with those of `Clouds`."""

    key: Array
    objective: Objective

    def __call__(self, key, model, x, y, *, step):
        """(loss, info), as `Objective` gives them."""
        return self.objective(_keys(self.key, step)[2], model, x, y)
