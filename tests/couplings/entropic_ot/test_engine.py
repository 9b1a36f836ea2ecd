"""The fast iterations behind `sinkhorn`: acceleration, stored kernel, start from a part."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.costs import relative_epsilon
from otlab.core.status import Status
from otlab.couplings.entropic_ot.engine import anderson
from otlab.couplings.entropic_ot.engine.anderson import Point
from otlab.couplings.entropic_ot.engine.begin import PART, begin
from otlab.couplings.entropic_ot.engine.inputs import LARGEST, route
from otlab.couplings.entropic_ot.engine.solve import Route, program
from otlab.couplings.entropic_ot.engine.tables import Table
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn

METHODS = ("kernel", "stream", "plain")


def linear(A, c):
    """A fixed point p = A p + c with residual A p + c - p, dressed as Sinkhorn's rows."""
    def rows(p, q):
        r = A @ p + c - p
        return Point(p, q, r, jnp.sum(jnp.abs(r)))
    return rows


@pytest.fixture
def hard(key):
    """48 and 40 points at an epsilon for which plain Sinkhorn needs hundreds of sweeps."""
    key_x, key_y = jax.random.split(key)
    x, y = jax.random.normal(key_x, (48, 3)), jax.random.normal(key_y, (40, 3)) + 1
    return x, y, relative_epsilon(x, y, 0.02)


# ---------------------------------------------------------------- oracle


def test_oracle_a_linear_map_of_few_rates_is_solved_in_few_moves(float64):
    rates = jnp.repeat(jnp.array([0.99, 0.9, -0.5, 0.3]), 5)  # plain: 0.99^k
    Q = jnp.linalg.qr(jnp.asarray(np.random.default_rng(0).normal(size=(20, 20))))[0]
    A, c, a = Q * rates @ Q.T, jnp.ones(20), jnp.full(20, 1 / 20)
    rows = linear(A, c)
    state = anderson.start(rows(jnp.zeros(20), jnp.zeros(1)))
    for _ in range(12):
        state = anderson.step(state, rows, a)
    solution = jnp.linalg.solve(jnp.eye(20) - A, c)
    assert jnp.abs(state.now.p - solution).max() < 1e-2 * jnp.abs(solution).max()
    plain = anderson.start(rows(jnp.zeros(20), jnp.zeros(1)))
    for _ in range(12):
        plain = anderson.step(plain, rows, a, accelerate=False)
    assert jnp.abs(plain.now.p - solution).max() > 0.1 * jnp.abs(solution).max()


def test_oracle_every_method_finds_the_float64_plan(hard):
    x, y, epsilon = hard
    a, b = np.full(48, 1 / 48), np.full(40, 1 / 40)
    P = oracles.sinkhorn_float64(oracles.dot(x, y), a, b, float(epsilon))[2]
    for method in METHODS:
        r = sinkhorn(x, y, epsilon=epsilon, cost="dot", tol=2e-5, max_steps=20_000, method=method)
        assert r.method == method
        np.testing.assert_allclose(r.require_converged().plan(), P, atol=5e-6)


# ---------------------------------------------------------------- invariant


def test_invariant_acceleration_saves_four_sweeps_in_five(hard):
    x, y, epsilon = hard
    steps = {m: int(sinkhorn(x, y, epsilon=epsilon, cost="dot", max_steps=20_000, method=m)
                    .require_converged().steps) for m in METHODS}
    assert 5 * steps["kernel"] < steps["plain"] and 5 * steps["stream"] < steps["plain"]


def test_invariant_a_bad_move_is_taken_back(key):
    """Near p = 0 the map contracts; far away its residual explodes."""
    def rows(p, q):
        r = -0.1 * p + jnp.where(jnp.abs(p).max() > 3, 1e6, 0.0)
        return Point(p, q, r, jnp.sum(jnp.abs(r)))

    a = jnp.full(4, 0.25)
    state = anderson.start(rows(jnp.full(4, 2.0), jnp.zeros(1)))
    lured = state._replace(moves=state.moves.at[0].set(-50.0),
                           changes=state.changes.at[0].set(0.01))
    downhill = anderson.step(lured._replace(moves=-lured.moves), rows, a)  # is not even tried
    np.testing.assert_allclose(downhill.now.p, state.now.p + state.now.r)
    after = anderson.step(lured, rows, a)
    assert int(after.falls) == 1 and int(after.hold) >= 1
    np.testing.assert_array_equal(after.now.p, state.now.p)
    assert not after.moves.any() and not after.changes.any()
    again = anderson.step(after, rows, a)
    assert float(again.now.error) < float(state.now.error)


def separate_groups(seed, n=200, d=16):
    """Two groups of unequal shares in the two clouds, which hardly see each other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(2, d))
    pick = [rng.permutation(np.r_[np.zeros(n // 2 + k), np.ones(n // 2 - k)]) for k in (0, 7)]
    x, y = (centres[p.astype(int)] + 0.2 * rng.normal(size=(n, d)) for p in pick)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("method", ["kernel", "stream"])
@pytest.mark.parametrize("seed", range(3))
def test_invariant_a_flat_residual_does_not_stall_the_acceleration(seed, method):
    """Until a group's potential has drifted far enough the residual is the same everywhere."""
    x, y = separate_groups(seed)
    how = dict(epsilon=relative_epsilon(x, y, 0.01, cost="sqeuclidean"), max_steps=20_000)
    plain = sinkhorn(x, y, method="plain", **how).require_converged()
    fast = sinkhorn(x, y, method=method, **how).require_converged()
    assert int(plain.steps) > 400 and 4 * int(fast.steps) < int(plain.steps)


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
def test_invariant_a_start_from_a_part_is_near_the_end(key, cost):
    key_x, key_y = jax.random.split(key)
    n = PART + 88
    x, y = jax.random.normal(key_x, (n, 2)), 0.5 * jax.random.normal(key_y, (n, 2)) + 1
    epsilon = relative_epsilon(x, y, 0.04, cost=cost)
    a = jnp.full(n, 1 / n)
    p, q = jax.jit(lambda x, y: begin(Table(x, y, cost, None), a, a, epsilon))(x, y)
    r = sinkhorn(x, y, epsilon=epsilon, cost=cost, tol=1e-4).require_converged()
    gap = p * epsilon - r.f
    assert jnp.abs(gap - gap.mean()).mean() < 0.05 * jnp.std(r.f)
    assert jnp.isfinite(p).all() and jnp.isfinite(q).all()


def test_invariant_points_without_mass_get_their_transform(hard):
    x, y, epsilon = hard
    a = np.r_[np.zeros(3), np.full(45, 1 / 45)]
    b = np.r_[np.full(38, 1 / 38), np.zeros(2)]
    for method in METHODS:
        r = sinkhorn(x, y, epsilon=epsilon, a=a, b=b, cost="dot", method=method, max_steps=20_000)
        r.require_converged()
        np.testing.assert_allclose(r.f[:3], r.potential(x[:3]), atol=1e-4)
        np.testing.assert_allclose(r.g[-2:], r.target_potential(y[-2:]), atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.floats(-3, 1), shift=st.sampled_from([0.0, 30.0]))
def test_property_methods_agree_or_say_that_they_did_not_finish(seed, power, shift):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(24, 2)).astype(np.float32)
    y = (rng.standard_t(3, size=(16, 2)) + shift).astype(np.float32)
    plans = []
    for method in ("kernel", "stream"):
        r = sinkhorn(x, y, epsilon=10**power, cost="dot", max_steps=400, method=method)
        status = Status(int(r.status))
        assert status in (Status.CONVERGED, Status.MAX_STEPS, Status.PRECISION)
        assert np.isfinite(r.f).all() and np.isfinite(r.g).all()
        if status is Status.CONVERGED:
            P = oracles.plan_float64(r, oracles.dot(x, y))
            assert abs(P.sum(1) - 1 / 24).sum() < 2e-3
            plans.append(P)
    if len(plans) == 2:
        assert abs(plans[0] - plans[1]).sum() < 0.1


def test_invariant_memory_of_streaming_grows_with_n_not_its_square():
    """Of the compiled program, beside its inputs; n = 40,000 would be 6.4 GB as a table."""
    def temporary(n):
        cloud, column, one = ((jax.ShapeDtypeStruct(shape, jnp.float32))
                              for shape in ((n, 4), (n,), ()))
        method, block = route("auto", None, n, n)
        assert method == "stream"
        compiled = program.lower(cloud, cloud, column, column, column, one, one,
                                 jax.ShapeDtypeStruct((), jnp.int32),
                                 Route("dot", block, method, False, 1)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporary(40_000), temporary(80_000)
    assert small < 4 * 40_000 * 500 and 1.2 * small < large < 2.2 * small


# ---------------------------------------------------------------- failure


def test_failure_unknown_method_and_a_kernel_in_blocks():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="one of auto, kernel, stream, plain; got 'fast'"):
        sinkhorn(x, x, epsilon=1, method="fast")
    with pytest.raises(ValueError, match="block=2"):
        sinkhorn(x, x, epsilon=1, method="kernel", block=2)


def test_route_streams_what_would_not_fit():
    side = int(LARGEST**0.5)
    assert route("auto", None, side, side) == ("kernel", None)
    method, block = route("auto", None, 2 * side, side)
    assert method == "stream" and block * 2 * side <= LARGEST
    assert route("auto", 256, 10, 10) == ("stream", 256)
    assert route("plain", None, 10, 10) == ("plain", None)
