"""From noise to data: integrate dx/dt = v(t, x), with fixed or adaptive steps."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.blocks import on_one_cpu, over_cores, over_rows
from otlab.core.inputs import cloud, known, number, positive, positive_int
from otlab.core.status import Status


def euler(v, t, x, dt):
    """x + dt v(t, x): one evaluation a step, order 1."""
    return x + dt * v(t, x)


def midpoint(v, t, x, dt):
    """Velocity taken half a step ahead: two evaluations, order 2."""
    return x + dt * v(t + dt / 2, x + dt / 2 * v(t, x))


def heun(v, t, x, dt):
    """Mean of the velocities at both ends of the step: two evaluations, order 2."""
    v_t = v(t, x)
    return x + dt / 2 * (v_t + v(t + dt, x + dt * v_t))


def rk4(v, t, x, dt):
    """The classical Runge-Kutta step: four evaluations, order 4."""
    a = v(t, x)
    b = v(t + dt / 2, x + dt / 2 * a)
    c = v(t + dt / 2, x + dt / 2 * b)
    d = v(t + dt, x + dt * c)
    return x + dt / 6 * (a + 2 * b + 2 * c + d)


class Ratio(eqx.Module):
    """Second-order step that looks ahead by the fraction `ratio` of it: two evaluations, order 2.

    ratio 1 is Heun's step and 1/2 the midpoint step. On straight paths the first-order step of
    DPM-Solver is Euler's, and this is its second-order step, in time where that has log-SNR.
    Source: Lu et al. (2022), arXiv 2206.00927, algorithm 1; 0.4 in arXiv 2410.07815.
    """

    ratio: Float[Array, ""]

    def __init__(self, ratio):
        number("ratio", ratio, lambda r: (r > 0) & (r <= 1),
               "a fraction of the step, above 0 and at most 1")
        self.ratio = jnp.asarray(ratio, jnp.float32)

    def __call__(self, v, t, x, dt):
        r = self.ratio.astype(x.dtype)
        v_t = v(t, x)
        ahead = v(t + r * dt, x + r * dt * v_t)
        return x + dt * ((1 - 1 / (2 * r)) * v_t + ahead / (2 * r))


METHODS = {"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4}
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


class Trajectory(eqx.Module):
    """States x at times t of a whole cloud: x (steps + 1, n, ...), t (steps + 1,)."""

    t: Float[Array, " times"]
    x: Float[Array, "times n ..."]


def sample(model, x0: Array, *, steps: int | None = None, times=None, method="euler",
           start=0.0, stop=1.0, condition=None, block: int | None = None) -> Array:
    """Carry every point of x0 along the model from time `start` to `stop`.

    Args:
        model: velocity v(t, x) of one point, or v(t, x, condition).
        x0: points at time `start`, shape (n, ...).
        steps: number of equal steps; a new value compiles nothing.
        times: instead of steps, start and stop, the grid itself, shape (steps + 1,); a new grid
            of the same length compiles nothing; or a module like `Even`, with `steps` and
            `at(k)`, which compiles nothing for another length either.
        method: "euler", "midpoint", "heun" (1, 2, 2 evaluations a step), "rk4" (4), or a step
            of your own, a function (v, t, x, dt) -> x such as `Ratio(0.4)`.
        start, stop: times; start=1, stop=0 carries data back to noise.
        condition: None, or what each point is conditioned on, such as labels (n,).
        block: points integrated at once, which bounds memory; not part of the answer. None takes
            1,024, and on a CPU 512 points or 32 images (x0 of three axes or more), which fit
            into its caches. On a CPU the cores share the blocks.

    Returns:
        Points at time `stop`, shape of x0. To differentiate backwards through the
        solver, take `trajectory(...).x[-1]`: this loop has no fixed length.

    Raises:
        ValueError: for steps below one, an unknown method, an empty or non-finite x0.
    """
    _check(x0, method)
    usual = 1024
    if jax.default_backend() == "cpu":
        usual = 32 if x0.ndim > 2 else 512
    block = usual if block is None else positive_int("block", block)
    if times is not None:
        grid = times if isinstance(times, eqx.Module) else Grid(_grid(times, steps, x0.dtype))
    else:
        grid = Even(jnp.asarray(positive_int("steps", steps)), *_times(x0, start, stop))

    def run(rows):
        return _sample(model, *rows, grid, method, block)

    rows = x0, condition
    return over_cores(run, rows, block) if on_one_cpu((model, grid, method)) else run(rows)


class Even(eqx.Module):
    """`steps` equal steps from `start` to `stop`."""

    steps: Int[Array, ""]
    start: Float[Array, ""]
    stop: Float[Array, ""]

    def at(self, k):
        """(time before step k, its length)."""
        dt = (self.stop - self.start) / self.steps.astype(self.start.dtype)
        return self.start + k.astype(dt.dtype) * dt, dt


class Grid(eqx.Module):
    """The steps between given times."""

    times: Float[Array, " times"]

    @property
    def steps(self):
        """Number of steps."""
        return jnp.asarray(len(self.times) - 1)

    def at(self, k):
        """(time before step k, its length)."""
        return self.times[k], self.times[k + 1] - self.times[k]


@eqx.filter_jit
def _sample(model, x0, condition, grid, method, block):
    stepper = _stepper(method)

    def carry(x, condition):
        v = _velocities(model, condition)
        steps = grid.steps
        return jax.lax.fori_loop(
            jnp.zeros_like(steps), steps,
            lambda k, x: stepper(v, grid.at(k)[0], x, grid.at(k)[1]), x)

    return over_rows(carry, block, x0, condition)


def _velocities(model, condition):
    """v(t, x) for a whole cloud x at one time."""
    if condition is None:
        return jax.vmap(model, in_axes=(None, 0))
    return lambda t, x: jax.vmap(model, in_axes=(None, 0, 0))(t, x, condition)


def trajectory(model, x0: Array, *, steps: int | None = None, times=None, method="euler",
               start=0.0, stop=1.0, condition=None) -> Trajectory:
    """As `sample`, keeping every state: Trajectory(t (steps + 1,), x (steps + 1, n, ...)).

    Differentiable in both modes; a new `steps` compiles anew.
    """
    _check(x0, method)
    if times is None:
        steps = positive_int("steps", steps)
        start, stop = _times(x0, start, stop)
        times = start + (stop - start) / steps * jnp.arange(steps + 1, dtype=x0.dtype)
    else:
        times = _grid(times, steps, x0.dtype)
    return _trajectory(model, x0, condition, times, method)


@eqx.filter_jit
def _trajectory(model, x0, condition, times, method):
    stepper, v = _stepper(method), _velocities(model, condition)

    def body(x, ends):
        x = stepper(v, ends[0], x, ends[1] - ends[0])
        return x, x

    _, states = jax.lax.scan(body, x0, (times[:-1], times[1:]))
    return Trajectory(times, jnp.concatenate([x0[None], states]))


class Solution(eqx.Module):
    """End points of an adaptive solve and what each of them cost.

    x: points at the stop time, shape (n, ...).
    evaluations: evaluations of v for each point, shape (n,), rejected steps included.
    status: otlab.core.status.Status of each point, shape (n,).
    """

    x: Array
    evaluations: Int[Array, " n"]
    status: Int[Array, " n"]

    def require_converged(self) -> "Solution":
        """Return self, or raise RuntimeError saying how many points stopped, and what to do."""
        lost = int((self.status != Status.CONVERGED).sum())
        if lost:
            raise RuntimeError(
                f"solve stopped before the end time for {lost} of {self.status.size} points "
                f"(up to {int(self.evaluations.max())} evaluations each); raise max_steps, loosen "
                "rtol and atol, or look for a velocity that grows without bound."
            )
        return self


def solve(model, x0: Array, *, rtol, atol, start=0.0, stop=1.0, max_steps: int = 2_000) -> Solution:
    """Integrate with adaptive Dopri5 (diffrax), each point with its own steps.

    The first step tried is a hundredth of the interval.

    Args:
        model: velocity v(t, x) of one point.
        x0: points at time `start`, shape (n, ...).
        rtol, atol: relative and absolute error allowed in a step.
        start, stop: times; start=1, stop=0 runs backwards.
        max_steps: cap on the steps of a point, rejected ones included.

    Returns:
        Solution(x, evaluations, status); call `.require_converged()`. A point that stops
        early holds NaN.
    """
    _check(x0, "euler")
    if known(start, stop) and start == stop:
        raise ValueError(f"solve needs two different times; got start = stop = {start}.")
    tols = [jnp.asarray(positive(name, value), x0.dtype)
            for name, value in (("rtol", rtol), ("atol", atol))]
    return _solve(model, x0, *tols, *_times(x0, start, stop), positive_int("max_steps", max_steps))


@eqx.filter_jit
def _solve(model, x0, *settings):
    return Solution(*jax.vmap(lambda x: solve_point(model, x, *settings))(x0))


def solve_point(model, x, rtol, atol, start, stop, max_steps):
    """Dopri5 for one point: (end, evaluations, status)."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: model(t, x)), diffrax.Dopri5(),
        t0=start, t1=stop, dt0=(stop - start) / 100, y0=x,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps, throw=False,
    )
    done = solution.result == diffrax.RESULTS.successful
    end = jnp.where(done, solution.ys[0], jnp.nan)
    # Dopri5 reuses its last stage: six evaluations a step, and one to begin.
    evaluations = 6 * solution.stats["num_steps"] + 1
    return end, evaluations, jnp.where(done, Status.CONVERGED, Status.MAX_STEPS)


def _grid(times, steps, dtype):
    times = jnp.asarray(times, dtype)
    if steps is not None or times.ndim != 1 or len(times) < 2:
        raise ValueError(f"give either steps= or a grid times= of at least two times; got steps="
                         f"{steps} and times of shape {times.shape}.")
    return times


def _times(x0, start, stop):
    return jnp.asarray(start, x0.dtype), jnp.asarray(stop, x0.dtype)


def _stepper(method):
    return METHODS[method] if isinstance(method, str) else method


def _check(x0, method):
    if not callable(method) and method not in METHODS:
        raise ValueError("method must be a function (v, t, x, dt) -> x, or one of "
                         f"{', '.join(METHODS)}; got {method!r}.")
    cloud("x0", x0, "the flow cannot carry them")
    if not jnp.issubdtype(x0.dtype, jnp.floating):
        raise ValueError(f"x0 must hold floating numbers; got {x0.dtype}. "
                         "Use x0.astype('float32').")
