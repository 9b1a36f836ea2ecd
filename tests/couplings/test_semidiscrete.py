"""Semidiscrete transport against exact cells, quadrature and finite differences; its invariants."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm

from otlab.core import devices
from otlab.core.costs import squared_distances
from otlab.core.status import Status
from otlab.couplings import semidiscrete, semidiscrete_classes, tweedie
from otlab.couplings.laguerre import ascent, cells
from otlab.couplings.laguerre.duplicates import merge_duplicates

NORMAL = semidiscrete.standard_normal(2)
LINE = semidiscrete.standard_normal(1)
SIZES = dict(batch=128, eval_batch=1024)


@pytest.fixture(scope="module")
def atoms():
    """Sixty points of the plane with unequal weights, the last one without any."""
    key_y, key_b = jax.random.split(jax.random.key(1))
    b = jax.random.gamma(key_b, 3.0, (60,)).at[-1].set(0)
    return jax.random.normal(key_y, (60, 2)) * jnp.array([1.5, 0.5]), b / b.sum()


@pytest.fixture(scope="module", params=[0.0, 0.3])
def result(request, atoms):
    return semidiscrete.solve(jax.random.key(2), NORMAL, atoms[0], b=atoms[1], tol=0.01,
                              epsilon=request.param, **SIZES).require_converged()


def assignment(result, x):
    """s_j(x), shape (n, m), in float64 from the definition."""
    z = np.asarray(result.g, np.float64) - oracles.dot(x, result.y)
    b, epsilon = np.asarray(result.b, np.float64), float(result.epsilon)
    if epsilon == 0:
        return np.eye(len(b))[np.where(b > 0, z, -np.inf).argmax(1)]
    with np.errstate(divide="ignore"):
        z = z / epsilon + np.log(b)
    return np.exp(z - logsumexp(z, axis=1, keepdims=True))


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
def test_oracle_cells_of_the_line_in_closed_form(cost):
    """In one dimension the cell of the j-th atom from the left holds noise of the j-th share."""
    y = jnp.array([[0.9], [-1.2], [0.1], [2.0], [-0.3]])
    b = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    r = semidiscrete.solve(jax.random.key(0), LINE, y, b=b, cost=cost, tol=2e-4, **SIZES)
    order = np.argsort(np.asarray(y[:, 0]))
    ends = norm.ppf(np.cumsum(b[order])[:-1])
    gaps = np.diff(np.asarray(y[:, 0], np.float64)[order])
    if cost == "sqeuclidean":  # ends lie halfway, moved by the potentials
        points = np.asarray(y[:, 0], np.float64)[order]
        want = np.diff(points**2) - 2 * ends * gaps
    else:
        want = -ends * gaps
    np.testing.assert_allclose(np.diff(np.asarray(r.require_converged().g)[order]), want, atol=0.06)
    x = LINE(jax.random.key(5), 4000)
    want = order[np.searchsorted(ends, np.asarray(x[:, 0]))]
    assert np.mean(np.asarray(r.assign(x)) != want) < 0.02


def test_oracle_masses_and_chi2_meet_a_large_independent_sample(result):
    x = np.random.default_rng(0).standard_normal((40_000, 2))
    m = assignment(result, x).mean(0)
    b = np.asarray(result.b, np.float64)
    plug_in = np.sum(m[b > 0] ** 2 / b[b > 0]) - 1
    assert plug_in < 0.01 + 3 * 60 / 40_000  # tol, and what sampling adds to the plug-in
    masses = result.cell_masses(jax.random.key(3), NORMAL)
    np.testing.assert_allclose(masses, m, atol=5 * np.sqrt(m.max() / 40_000))
    assert masses[-1] == 0 and np.isclose(masses.sum(), 1, atol=1e-5)


def test_oracle_large_epsilon_sends_noise_everywhere(atoms, key):
    r = semidiscrete.solve(key, NORMAL, atoms[0], b=atoms[1], epsilon=1e4, **SIZES)
    assert int(r.require_converged().steps) == 0
    np.testing.assert_allclose(r.cell_masses(key, NORMAL), atoms[1], atol=1e-4)


@pytest.mark.parametrize("m", [1, 5, 64, 130, 200])
def test_oracle_best_is_the_argmax(m):
    rng = np.random.default_rng(m)
    z = rng.normal(size=(300, m)).astype(np.float32)
    tilt = np.where(rng.random(m) < 0.3, -np.inf, rng.normal(size=m)).astype(np.float32)
    tilt[rng.integers(m)] = 0
    top, j = cells.best(jnp.asarray(z), jnp.asarray(tilt))
    np.testing.assert_array_equal(j, (z + tilt).argmax(1))
    np.testing.assert_array_equal(top, (z + tilt).max(1))


@pytest.mark.parametrize("sharp", [True, False])
def test_oracle_chi2_is_unbiased_where_the_plug_in_is_not(sharp):
    """The mean over 3,000 small batches is the truth, to four standard errors."""
    rng = np.random.default_rng(0)
    s = rng.dirichlet(np.full(20, 0.2), size=50)  # fifty kinds of noise, drawn evenly
    s = np.eye(20)[s.argmax(1)] if sharp else s
    b = rng.dirichlet(np.full(20, 5.0))
    truth = np.sum(s.mean(0) ** 2 / b) - 1
    batches = s[rng.integers(50, size=(3000, 16))]  # (repeats, n, m)
    total, squares = batches.sum(1), (batches**2).sum(1)
    estimates = jax.vmap(lambda t, q: cells.chi2(t, q, 16, jnp.asarray(b, jnp.float32)))(
        jnp.asarray(total, jnp.float32), jnp.asarray(squares, jnp.float32))
    error = np.std(estimates) / np.sqrt(3000)
    assert abs(np.mean(estimates) - truth) < 4 * error
    plug_in = np.mean(np.sum((total / 16) ** 2 / b, axis=1)) - 1
    assert plug_in - truth > 20 * error


def test_oracle_deviation_bounds_the_spread_of_the_estimate():
    m, n = 50, 400
    draw = np.random.default_rng(1)
    for p in (np.full(m, 1 / m), np.r_[np.full(25, 1.1), np.full(25, 0.9)] / m):
        counts = jnp.asarray(draw.multinomial(n, p, size=4000), jnp.float32)
        estimates = jax.vmap(lambda c: cells.chi2(c, c, n, jnp.full(m, 1 / m)))(counts)
        bound = float(ascent.deviation(m, m * np.sum(p**2) - 1, float(n)))
        assert 0.9 * bound < np.std(estimates) < 1.1 * bound


def test_oracle_draws_follow_the_soft_assignment(result, key):
    x = jnp.array([[0.3, -0.2]] * 20_000)
    j = np.asarray(result.sample_pairs(key, x))
    s = assignment(result, x[:1])[0]
    counts = np.bincount(j, minlength=60)
    assert (counts[s == 0] == 0).all()
    gap = np.abs(counts / 20_000 - s)
    assert (gap < 5 * np.sqrt(s * (1 - s) / 20_000) + 1e-6).all()


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
@pytest.mark.parametrize("epsilon", [0.0, 0.4])
def test_gradient_of_the_semidual_is_the_step(atoms, key, cost, epsilon):
    y, b = atoms
    g = 0.3 * jax.random.normal(key, (60,))
    x = NORMAL(key, 128)
    slope = jax.grad(semidiscrete.semidual)(g, x, y, b=b, epsilon=epsilon, cost=cost)
    state, info = semidiscrete.step(key, semidiscrete.init(g=g), NORMAL, y, b=b, batch=128,
                                    rate=0.7, epsilon=epsilon, cost=cost)
    np.testing.assert_allclose(state.g - g, 0.7 * slope, atol=2e-6)
    np.testing.assert_allclose(b - info.masses, slope, atol=2e-6)
    np.testing.assert_array_equal(state.mean, state.g)  # the first average is the first iterate


def test_gradient_meets_finite_differences(atoms, key, float64):
    y, b = (jnp.asarray(v, jnp.float64) for v in atoms)
    g, x = jax.random.normal(key, (60,), jnp.float64), NORMAL(key, 64)
    f = partial(semidiscrete.semidual, x=x, y=y, b=b / b.sum(), epsilon=0.4)
    direction = jax.random.normal(jax.random.key(9), (60,), jnp.float64)
    numeric = (f(g + 1e-5 * direction) - f(g - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jax.grad(f)(g) @ direction, numeric, rtol=1e-7)


# ---------------------------------------------------------------- invariant


def test_invariant_average_weighs_iterates_by_their_number():
    y = jnp.array([[-1.0, 0], [1.0, 0], [0.0, 1]])
    state, kept = semidiscrete.init(m=3), []
    for k in range(6):
        state, _ = semidiscrete.step(jax.random.key(k), state, NORMAL, y, batch=16, rate=0.5)
        kept.append(np.asarray(state.g))
    weights = np.array([(k + 1) * (k + 2) for k in range(6)])
    np.testing.assert_allclose(state.mean, weights @ np.array(kept) / weights.sum(), atol=1e-6)
    assert int(state.k) == 6


def test_invariant_costs_agree_at_twice_the_epsilon(atoms, key):
    """Same noise, same cells: g of |x - y|^2 is 2 g + |y|^2."""
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, y, b=b, tol=1e-6, max_steps=50, **SIZES)
    dot = run(epsilon=0.25, init=jnp.zeros(60))
    square = run(epsilon=0.5, cost="sqeuclidean", init=jnp.sum(y * y, axis=1))
    want = 2 * dot.state.mean + jnp.sum(y * y, axis=1)
    np.testing.assert_allclose(square.state.mean, want, atol=1e-3)
    assert Status(int(dot.status)) is Status.MAX_STEPS and int(dot.steps) == 50
    z = square.g - squared_distances(NORMAL(key, 99), y) + 0.5 * jnp.log(b)
    np.testing.assert_array_equal(square.assign(NORMAL(key, 99)), jnp.argmax(z, axis=1))


def test_invariant_a_shift_of_the_atoms_changes_nothing(atoms, key):
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, b=b, tol=1e-6, max_steps=50, **SIZES)
    np.testing.assert_allclose(run(y + jnp.array([40.0, -7.0])).g, run(y).g, atol=1e-3)


def test_invariant_assign_and_draw_ignore_the_block(result, key):
    x = NORMAL(key, 50)
    s = assignment(result, x)
    np.testing.assert_array_equal(result.assign(x), s.argmax(1))
    np.testing.assert_array_equal(result.assign(x, block=7), s.argmax(1))
    first = result.sample_pairs(key, x)
    np.testing.assert_array_equal(result.sample_pairs(key, x, block=7), first)
    assert (result.sharp) == bool((first == result.assign(x)).all())


def test_invariant_pairs_are_eight_bytes_and_any_stretch_agrees(result):
    pairs = result.pairs(3, 100)
    assert pairs.noise_id.nbytes + pairs.data_id.nbytes == 800
    x = pairs.x0(jnp.arange(100), (2,))
    if result.sharp:
        np.testing.assert_array_equal(pairs.data_id, result.assign(x))
        np.testing.assert_array_equal(result.pairs(3, 40, start=60).data_id, pairs.data_id[60:])
    x0, x1 = pairs.sampler(result.y, 8)(jax.random.key(0))
    assert x0.shape == x1.shape == (8, 2)


def test_invariant_converged_start_stops_at_once_and_a_run_goes_on(result, key):
    again = semidiscrete.solve(key, NORMAL, result.y, b=result.b, epsilon=result.epsilon,
                               tol=0.03, init=result, **SIZES)
    assert again.steps == result.steps and again.require_converged()
    finer = semidiscrete.solve(key, NORMAL, result.y, b=result.b, epsilon=result.epsilon,
                               tol=0.003, init=result.state, **SIZES).require_converged()
    assert finer.steps > result.steps


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 1000))
def test_invariant_merging_keeps_atoms_and_weights(rows, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(6, 3)).astype(np.float32)
    y, b = points[rows], rng.dirichlet(np.ones(len(rows)))
    merged = merge_duplicates(y, b)
    assert len(merged.y) == len(set(rows))
    np.testing.assert_array_equal(merged.y[merged.group], y)
    np.testing.assert_array_equal(y[merged.first], merged.y)
    for k, point in enumerate(np.asarray(merged.y)):
        np.testing.assert_allclose(merged.b[k], b[(y == point).all(1)].sum(), atol=1e-6)


def test_invariant_a_rate_of_its_own(atoms, key):
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, y, b=b, tol=1e-6, max_steps=30, **SIZES)
    np.testing.assert_allclose(run(rate=lambda k: 2 / (1 + k / ascent.DECAY)).g, run(rate=2.0).g,
                               atol=1e-4)


# ---------------------------------------------------------------- stop


def test_stop_few_points_never_say_yes():
    """With 2 points of 1,000 atoms the estimate is -1 nearly always; no such zero may stop it."""
    y = jax.random.normal(jax.random.key(0), (1000, 2))
    problem = ascent.Problem(y, jnp.full(1000, 1e-3), jnp.zeros(()), True)
    judge = jax.jit(partial(ascent.judge, sample=NORMAL, tol=jnp.float32(0.02), size=2048),
                    static_argnames=())
    keys = jax.random.split(jax.random.key(1), 5)
    verdicts = [judge(problem, k, h=jnp.zeros(1000)) for k in keys]
    assert not any(bool(passed) for _, passed in verdicts)
    n = float(ascent.enough(1000.0, 0.02))
    assert np.isclose(2 * ascent.deviation(1000.0, 0.02, n), ascent.MARGIN * 0.02, rtol=1e-4)


def test_stop_verdicts_are_true(atoms):
    """Of 12 runs, all that say chi2 <= 0.02 are below it on 200,000 fresh points."""
    y, b = atoms
    for seed in range(12):
        r = semidiscrete.solve(jax.random.key(seed), NORMAL, y, b=b, tol=0.02, **SIZES)
        assert r.require_converged().fresh_chi2(jax.random.key(99), NORMAL, n=200_000) <= 0.02


# ---------------------------------------------------------------- classes, mesh, score


def test_classes_pair_labels_with_labels(key):
    key_y, key_x = jax.random.split(key)
    labels = np.array([3] * 20 + [7] * 35 + [4] * 8)
    y = jax.random.normal(key_y, (63, 2)) + jnp.asarray(labels, jnp.float32)[:, None]
    r = semidiscrete_classes.solve_classes(key, NORMAL, y, labels, tol=0.03, **SIZES)
    assert r.require_converged().classes.tolist() == [3, 4, 7]
    x, wanted = NORMAL(key_x, 9000), np.resize([3, 4, 7], 9000)
    j = np.asarray(r.assign(x, wanted))
    np.testing.assert_array_equal(labels[j], wanted)
    np.testing.assert_array_equal(r.assign(x, wanted, block=1000), j)
    np.testing.assert_array_equal(r.sample_pairs(key, x, wanted), j)
    for label in (3, 4, 7):
        counts = np.bincount(j[wanted == label], minlength=63)[labels == label]
        assert np.sum(counts * (counts - 1.0)) * len(counts) / 3000 / 2999 - 1 < 0.03 + 0.02
    with pytest.raises(ValueError, match=r"knows the labels \[3, 4, 7\]; got 5"):
        r.assign(x[:2], [3, 5])
    with pytest.raises(ValueError, match="one whole-number label"):
        semidiscrete_classes.solve_classes(key, NORMAL, y, labels[:5])


SHARDED = """
import json, jax, jax.numpy as jnp, numpy as np
from otlab.core import devices
from otlab.couplings import semidiscrete as sd
mesh, law = devices.mesh(), sd.standard_normal(3)
y = jax.random.normal(jax.random.key(0), (120, 3))
b = jnp.concatenate([jnp.ones(113), jnp.zeros(7)]) / 113
out = []
for epsilon in (0.0, 0.3):
    run = lambda y, b, mesh: sd.solve(jax.random.key(1), law, y, b=b, epsilon=epsilon, batch=64,
                                      tol=0.05, eval_batch=512, mesh=mesh)
    one, many = run(y, b, None), run(devices.shard_rows(y, mesh), devices.shard_rows(b, mesh), mesh)
    x = law(jax.random.key(2), 200)
    out.append([float(jnp.abs(one.g - many.g).max()), int(one.steps), int(many.steps),
                len(many.g.sharding.device_set), many.g.addressable_shards[0].data.shape[0],
                int(jnp.sum(one.assign(x) != many.assign(x))),
                float(many.fresh_chi2(jax.random.key(3), law)),
                float(one.fresh_chi2(jax.random.key(3), law)),
                int(jnp.max(many.sample_pairs(jax.random.key(4), x)))])
try: sd.solve(jax.random.key(1), law, y[:118], mesh=mesh)
except ValueError as e: out.append(str(e))
print(json.dumps(out))
"""


def test_mesh_of_eight_devices_finds_the_same_potential():
    *runs, sentence = json.loads(devices.on_virtual_devices(SHARDED))
    for gap, steps, same, count, rows, flips, chi2, other, largest in runs:
        assert gap < 1e-3 and steps == same and (count, rows) == (8, 15) and flips <= 1
        assert abs(chi2 - other) < 1e-3 and largest < 113
    assert "append 2 copies" in sentence


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_score_by_quadrature_on_the_line(epsilon):
    """Score, velocity and correction of five atoms against float64 sums and differences."""
    y = np.array([-1.6, -0.7, 0.2, 0.9, 1.9])
    b = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    grid = np.linspace(-8, 8, 801)
    g = np.zeros(5)
    for _ in range(1000):  # until the masses are exact
        z = (g + grid[:, None] * y) / epsilon + np.log(b)
        m = np.trapezoid(np.exp(z - logsumexp(z, 1, keepdims=True)) * norm.pdf(grid)[:, None], grid,
                         axis=0)
        g += epsilon * np.log(b / m)
        if np.abs(m - b).max() < 1e-12:
            break

    def log_rho(x, t):
        x0 = (x[:, None] - t * y) / (1 - t)
        z = (g + x0[..., None] * y) / epsilon + np.log(b)
        log_s = np.diagonal(z - logsumexp(z, axis=2, keepdims=True), axis1=1, axis2=2)
        return logsumexp(norm.logpdf(x0) + log_s, axis=1) - np.log(1 - t)

    r = semidiscrete.SemidiscreteResult(
        *(jnp.asarray(v, jnp.float32) for v in (g, 0, 0, 0, epsilon, y[:, None], b)),
        semidiscrete.init(m=5), "dot", False, None)
    worst, dropped, printed = 0.0, 0.0, 0.0
    for t in (0.2, 0.5, 0.8):
        x = np.linspace(-2.5, 2.5, 41)
        want = (log_rho(x + 1e-5, t) - log_rho(x - 1e-5, t)) / 2e-5
        v, delta, log_density = tweedie.marginal(r, t, jnp.asarray(x[:, None], jnp.float32))
        np.testing.assert_allclose(log_density, log_rho(x, t), atol=2e-4)

        def gap(formula, want=want, x=x):
            return np.abs(np.asarray(formula)[:, 0] - want).max()

        x = jnp.asarray(x[:, None], jnp.float32)
        worst = max(worst, gap(tweedie.score(t, x, v, delta)))
        dropped = max(dropped, gap(tweedie.score(t, x, v)))
        printed = max(printed, gap((t * v - x + (1 - t) * delta) / (1 - t) ** 2))
    assert worst < 1e-3 and dropped > 50 * worst and printed > 0.5


def test_score_marginal_of_sharp_cells_is_a_piecewise_gaussian(key):
    y = jnp.array([[-1.0], [1.0]])
    r = semidiscrete.solve(key, LINE, y, tol=1e-3, **SIZES)
    v, delta, log_density = tweedie.marginal(r, 0.5, jnp.array([[1.0], [0.0]]))
    np.testing.assert_allclose(v[0], [0.0], atol=1e-6)  # from x0 = 1 to y = 1
    np.testing.assert_array_equal(delta[0], 0)
    np.testing.assert_allclose(log_density[0], np.log(2 * norm.pdf(1.0)), rtol=1e-5)
    assert log_density[1] == -np.inf  # the two halves move apart


# ---------------------------------------------------------------- failure


def test_failure_names_the_remedy(atoms, key):
    r = semidiscrete.solve(key, NORMAL, atoms[0], b=atoms[1], tol=1e-6, max_steps=5, **SIZES)
    assert Status(int(r.status)) is Status.MAX_STEPS and int(r.steps) == 5
    with pytest.raises(RuntimeError, match="Raise max_steps"):
        r.require_converged()


def test_failure_nan_noise_is_a_status(atoms, key):
    def broken(key, n):
        return NORMAL(key, n).at[0].set(jnp.nan)
    r = semidiscrete.solve(key, broken, atoms[0], b=atoms[1], rate=1.0, **SIZES)
    assert Status(int(r.status)) is Status.NONFINITE
    with pytest.raises(RuntimeError, match="NaN or an infinity"):
        r.require_converged()


@pytest.mark.parametrize("change, sentence", [
    (dict(y=np.zeros((3,))), r"shape \(m, d\)"),
    (dict(y=np.zeros((0, 2))), "at least one"),
    (dict(y=np.array([[0, 1], [np.nan, 0]])), "first at row 1"),
    (dict(b=np.ones(3) / 3), r"b of shape \(60,\)"),
    (dict(b=np.full(60, 1.0)), "sums to 60"),
    (dict(b=np.r_[2.0, -1.0, np.zeros(58)]), r"b\[1\] is -1"),
    (dict(b=np.r_[np.nan, np.zeros(59)]), r"b\[0\] is nan"),
    (dict(epsilon=-1.0), "epsilon >= 0"),
    (dict(epsilon=float("nan")), "epsilon >= 0"),
    (dict(cost="l1"), "'dot' and 'sqeuclidean'"),
    (dict(batch=1), "batch >= 2"),
    (dict(eval_batch=2.5), "eval_batch >= 2"),
    (dict(tol=0.0), "tol > 0"),
    (dict(max_steps=0), "max_steps >= 1"),
    (dict(init=jnp.zeros(7)), r"init\(m=60\)"),
    (dict(init=jnp.full(60, jnp.nan)), "finite potential"),
    (dict(sample=LINE), r"\(128, 2\)"),
    (dict(sample=lambda key: key), "function"),
])
def test_failure_sentences(atoms, key, change, sentence):
    given = dict(sample=NORMAL, y=atoms[0], **SIZES) | change
    sample, y = given.pop("sample"), given.pop("y")
    with pytest.raises(ValueError, match=sentence):
        semidiscrete.solve(key, sample, y, **given)


def test_failure_of_look_ups(result):
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        result.assign(jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="whole number of rows"):
        result.assign(jnp.zeros((4, 2)), block=0)
    with pytest.raises(ValueError, match="n >= 1"):
        result.pairs(0, 0)
    with pytest.raises(ValueError, match="either the number"):
        semidiscrete.init()
