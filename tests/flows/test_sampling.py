"""Solvers against closed forms: their order, both directions, honest counts and failures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine, Straight, rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from otlab.core.status import Status
from otlab.flows.sampling import Ratio, sample, solve, solve_point, trajectory

A = np.array([[0.3, -1.2], [0.8, -0.5]])


@pytest.fixture(scope="module")
def field():
    return Affine(jnp.asarray(A, jnp.float32), jnp.zeros(2))


@pytest.fixture(scope="module")
def cloud():
    return jax.random.normal(jax.random.key(1), (6, 2))


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2),
                                               ("rk4", 4)])
def test_oracle_error_falls_with_the_order_of_the_method(field, cloud, method, order):
    exact = np.asarray(cloud, np.float64) @ expm(A).T
    steps = (4, 8) if order == 4 else (16, 32)
    coarse, fine = (np.abs(sample(field, cloud, steps=k, method=method) - exact).max()
                    for k in steps)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_oracle_one_euler_step_follows_the_first_velocity(field, cloud):
    np.testing.assert_allclose(sample(field, cloud, steps=1), cloud @ (jnp.eye(2) + field.A).T,
                               rtol=1e-5, atol=1e-6)


def test_oracle_dopri5_meets_the_matrix_exponential(field, cloud):
    solution = solve(field, cloud, rtol=1e-5, atol=1e-6).require_converged()
    np.testing.assert_allclose(solution.x, np.asarray(cloud) @ expm(A).T, atol=2e-4)
    assert (solution.status == Status.CONVERGED).all()


def test_oracle_straight_paths_need_one_step(cloud):
    m, s = jnp.array([3.0, -1.0]), jnp.float32(0.4)
    field = Straight(m, s)
    np.testing.assert_allclose(sample(field, cloud, steps=1), s * cloud + m, rtol=1e-5, atol=1e-6)
    loose = solve(field, cloud, rtol=1e-3, atol=1e-3).evaluations
    turning = solve(rotation(20.0), cloud, rtol=1e-3, atol=1e-3).evaluations
    assert loose.max() < turning.min()


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(20, 200), start=st.floats(0, 1), stop=st.floats(0, 1))
def test_invariant_there_and_back(steps, start, stop):
    field = rotation(1.5)
    x = jnp.array([[1.0, 0.0], [0.2, -2.0]])
    there = sample(field, x, steps=steps, method="rk4", start=start, stop=stop)
    back = sample(field, there, steps=steps, method="rk4", start=stop, stop=start)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(there, axis=1), jnp.linalg.norm(x, axis=1),
                               rtol=1e-4)


def test_invariant_dopri5_runs_backwards(field, cloud):
    end = solve(field, cloud, rtol=1e-6, atol=1e-6).require_converged().x
    back = solve(field, end, rtol=1e-6, atol=1e-6, start=1.0, stop=0.0).require_converged()
    np.testing.assert_allclose(back.x, cloud, atol=1e-4)


def test_invariant_trajectory_ends_where_sample_does(field, cloud):
    path = trajectory(field, cloud, steps=5, method="heun", start=0.25, stop=0.75)
    assert path.x.shape == (6, 6, 2)
    np.testing.assert_allclose(path.t, np.linspace(0.25, 0.75, 6), rtol=1e-6)
    np.testing.assert_array_equal(path.x[0], cloud)
    end = sample(field, cloud, steps=5, method="heun", start=0.25, stop=0.75)
    np.testing.assert_allclose(path.x[-1], end, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", [1, 4, 6])
def test_invariant_blocks_do_not_change_the_answer(field, cloud, block):
    np.testing.assert_allclose(sample(field, cloud, steps=3, block=block),
                               sample(field, cloud, steps=3), rtol=1e-5, atol=1e-6)


def test_invariant_a_new_number_of_steps_compiles_nothing(cloud):
    traces = []

    def field(t, x):
        traces.append(1)
        return x

    sample(field, cloud, steps=3)
    count = len(traces)
    sample(field, cloud, steps=7, start=0.5)
    assert len(traces) == count


def test_gradient_through_the_trajectory_is_the_matrix(field, cloud):
    J = jax.jacrev(lambda x: trajectory(field, x[None], steps=20, method="rk4").x[-1, 0])(cloud[0])
    np.testing.assert_allclose(J, expm(A), atol=1e-4)


def test_oracle_evaluations_are_counted_one_by_one():
    calls = []

    def on_host(t, x):
        calls.append(float(t))
        return np.cos(9 * np.asarray(t)) * np.asarray(x)

    def field(t, x):
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(x.shape, x.dtype), t, x)

    settings = [jnp.float32(z) for z in (1e-4, 1e-4, 0, 1)]
    _, evaluations, _ = jax.block_until_ready(solve_point(field, jnp.ones(2), *settings, 500))
    assert len(calls) == int(evaluations) > 20


def test_failure_names_the_methods(field, cloud):
    with pytest.raises(ValueError, match="euler, midpoint, heun, rk4; got 'leapfrog'"):
        sample(field, cloud, steps=3, method="leapfrog")


@pytest.mark.parametrize("steps", [0, -2, 1.5])
def test_failure_steps_below_one(field, cloud, steps):
    for run in (sample, trajectory):
        with pytest.raises(ValueError, match="steps must be a whole number"):
            run(field, cloud, steps=steps)


@pytest.mark.parametrize(("x", "sentence"), [
    (jnp.zeros((0, 2)), "at least one point"), (jnp.zeros(2), r"x0\[None\]"),
    (jnp.array([[jnp.nan, 0.0]]), "NaN"), (jnp.zeros((3, 2), jnp.int32), "floating")])
def test_failure_clouds_that_cannot_move(field, x, sentence):
    with pytest.raises(ValueError, match=sentence):
        sample(field, x, steps=2)
    with pytest.raises(ValueError, match=sentence):
        solve(field, x, rtol=1e-3, atol=1e-3)


def test_failure_a_solve_out_of_steps_is_loud(cloud):
    stuck = solve(rotation(50.0), cloud, rtol=1e-5, atol=1e-5, max_steps=3)
    assert (stuck.status == Status.MAX_STEPS).all() and jnp.isnan(stuck.x).all()
    with pytest.raises(RuntimeError, match="6 of 6 points.*max_steps"):
        stuck.require_converged()
    with pytest.raises(ValueError, match="atol must be a positive"):
        solve(rotation(1.0), cloud, rtol=1e-3, atol=0.0)
    with pytest.raises(ValueError, match="two different times"):
        solve(rotation(1.0), cloud, rtol=1e-3, atol=1e-3, start=1.0)


@pytest.mark.parametrize("ratio", [0.4, 0.5, 1.0])
def test_oracle_a_ratio_step_is_of_second_order(field, cloud, ratio):
    exact = np.asarray(cloud, np.float64) @ expm(A).T
    coarse, fine = (np.abs(sample(field, cloud, steps=k, method=Ratio(ratio)) - exact).max()
                    for k in (16, 32))
    assert np.log2(coarse / fine) == pytest.approx(2, abs=0.25)


def test_oracle_the_ratio_names_midpoint_and_heun(cloud):
    def turning(t, x):                        # depends on t and x, unlike A x
        return jnp.sin(3 * t) * x[::-1] * jnp.array([1.0, -1.0]) + t

    for ratio, name in ((0.5, "midpoint"), (1.0, "heun")):
        np.testing.assert_allclose(sample(turning, cloud, steps=3, method=Ratio(ratio)),
                                   sample(turning, cloud, steps=3, method=name), atol=1e-5)


@pytest.mark.parametrize("ratio", [0, -0.4, 1.1])
def test_failure_a_ratio_outside_of_its_step(ratio):
    with pytest.raises(ValueError, match="fraction of the step"):
        Ratio(ratio)


def test_invariant_a_grid_object_is_its_times(field, cloud):
    class Squares(eqx.Module):
        steps: jax.Array

        def at(self, k):
            share = jnp.stack([k, k + 1]).astype(jnp.float32) / self.steps.astype(jnp.float32)
            return share[0] ** 2, share[1] ** 2 - share[0] ** 2

    times = jnp.linspace(0, 1, 5) ** 2
    np.testing.assert_allclose(sample(field, cloud, times=Squares(jnp.asarray(4))),
                               sample(field, cloud, times=times), rtol=1e-5)


class Push(eqx.Module):
    """v(t, x, label) = (1 + t) label, the same for both coordinates."""

    def __call__(self, t, x, label):
        return (1 + t) * label.astype(x.dtype) * jnp.ones(2)


@pytest.mark.parametrize("block", [2, 1024])
def test_oracle_conditions_go_with_their_points(cloud, block):
    labels = jnp.arange(6)
    # Midpoint integrates a velocity linear in t exactly: 3/2 of the label.
    found = sample(Push(), cloud, steps=2, method="midpoint", condition=labels, block=block)
    np.testing.assert_allclose(found, cloud + 1.5 * labels[:, None].astype(jnp.float32), atol=1e-5)
    path = trajectory(Push(), cloud, steps=2, method="midpoint", condition=labels)
    np.testing.assert_allclose(path.x[-1], found, atol=1e-5)


def test_oracle_a_grid_of_times_is_its_euler_sum(cloud):
    times, labels = jnp.array([0.0, 0.1, 0.7, 1.0]), jnp.ones(6, int)
    push = sum((1 + float(a)) * float(b - a) for a, b in zip(times[:-1], times[1:], strict=True))
    np.testing.assert_allclose(sample(Push(), cloud, times=times, condition=labels), cloud + push,
                               atol=1e-5)
    path = trajectory(Push(), cloud, times=times, condition=labels)
    np.testing.assert_array_equal(path.t, times)
    np.testing.assert_allclose(path.x[-1], cloud + push, atol=1e-5)
    backwards = sample(Push(), cloud, times=times[::-1], condition=labels)
    push = sum((1 + float(b)) * float(a - b) for a, b in zip(times[:-1], times[1:], strict=True))
    np.testing.assert_allclose(backwards, cloud + push, atol=1e-5)


def test_failure_a_grid_and_steps_together(cloud):
    with pytest.raises(ValueError, match="either steps= or a grid"):
        sample(Push(), cloud, steps=3, times=jnp.linspace(0, 1, 4), condition=jnp.ones(6, int))
    with pytest.raises(ValueError, match="at least two times"):
        sample(Push(), cloud, times=jnp.zeros(1), condition=jnp.ones(6, int))
