import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from otlab.flows import large_sinkhorn_couplings as pairing


@pytest.fixture(scope="module")
def pools():
    key_x, key_y = jax.random.split(jax.random.key(3))
    return jax.random.normal(key_x, (64, 3)), 2 * jax.random.normal(key_y, (64, 3)) + 1


@pytest.fixture(scope="module")
def images():
    return np.asarray(jax.random.normal(jax.random.key(4), (40, 4, 4)))


def test_oracle_small_epsilon_meets_exact_assignment(pools, key):
    x, y = pools
    j, report = pairing.couple_in_batches(key, x, y, n=64, epsilon=0.005, max_steps=50_000)
    rows, columns = linear_sum_assignment(-np.asarray(x @ y.T))
    best = float(jnp.sum(x[rows] * y[columns]))
    assert report.converged and float(jnp.sum(x * y[j])) > 0.97 * best


def test_invariant_partners_stay_in_their_batch(pools, key):
    x, y = pools
    j, report = pairing.couple_in_batches(key, x, y, n=16, epsilon=0.1)
    assert jnp.array_equal(j // 16, jnp.arange(64) // 16)
    assert report.sharpness.shape == (4,) and report.converged


def test_method_is_passed_on_and_changes_the_work_only(pools, key):
    x, y = pools
    (j, fast), (k, plain) = (pairing.couple_in_batches(key, x, y, n=32, epsilon=0.05, tol=1e-4,
                                                       method=m) for m in ("auto", "plain"))
    assert jnp.mean(j == k) > 0.9 and jnp.abs(fast.sharpness - plain.sharpness).max() < 1e-3
    assert fast.steps.max() < plain.steps.min()
    with pytest.raises(ValueError, match="method"):
        pairing.couple_in_batches(key, x, y, n=32, epsilon=0.05, method="best")


def test_every_noise_is_used_once_and_blur_leaves_data_out(pools, key):
    """Independent rows miss a datum with probability (1 − 1/n)ⁿ; near-permutations miss few."""
    x, y = (jnp.tile(v, (32, 1)) + 0.01 * jax.random.normal(key, (2048, 3)) for v in pools)
    lost = [1 - len(np.unique(pairing.couple_in_batches(key, x, y, n=64, epsilon=e)[0])) / 2048
            for e in (100.0, 0.02)]
    assert abs(lost[0] - (1 - 1 / 64) ** 64) < 0.03 and lost[1] < lost[0] - 0.05


def test_invariant_translation_and_scale_change_nothing(pools, key):
    x, y = pools
    base, _ = pairing.couple_in_batches(key, x, y, n=32, epsilon=0.1, tol=1e-5)
    moved, _ = pairing.couple_in_batches(key, 4 * x - 7, y + 50, n=32, epsilon=0.1, tol=1e-5)
    assert jnp.mean(base == moved) > 0.98  # rounding may flip a near tie


def test_invariant_larger_batches_cost_less(pools, key):
    x, y = pools
    gains = [float(jnp.mean(jnp.sum(x * y[pairing.couple_in_batches(key, x, y, n=n, epsilon=0.02,
                                                                     max_steps=20_000)[0]], 1)))
             for n in (1, 8, 64)]
    assert gains[0] < gains[1] < gains[2]


def test_noise_returns_by_number_alone(key):
    ids = jnp.array([5, 2, 5], jnp.uint32)
    noise = pairing.noise_at(key, ids, (3, 2))
    assert noise.shape == (3, 3, 2) and jnp.array_equal(noise[0], noise[2])
    assert not jnp.array_equal(noise[0], noise[1])
    assert jnp.array_equal(pairing.noise_at(key, ids[1:], (3, 2)), noise[1:])


@pytest.mark.parametrize("n", [16, 80])
def test_stream_pairs_every_noise_once_and_store_is_eight_bytes(images, n, tmp_path):
    pairs = pairing.collect(0, pairing.stream_pairs(0, images, n=n, epsilon=0.2, batches=3))
    assert np.array_equal(pairs.noise_id, np.arange(3 * n))
    assert pairs.data_id.min() >= 0 and pairs.data_id.max() < 40
    assert (pairs.noise_id.nbytes + pairs.data_id.nbytes) == 8 * len(pairs)
    pairs.save(tmp_path / "pairs.npz")
    again = pairing.Pairs.load(tmp_path / "pairs.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.npz"]
    assert np.array_equal(again.data_id, pairs.data_id) and again.seed == 0
    x0, x1 = pairs.sampler(images, 7)(jax.random.key(1))
    assert x0.shape == x1.shape == (7, 4, 4)
    assert any(jnp.allclose(x1[0], im) for im in images)
    assert jnp.array_equal(pairs.x0(jnp.array([2]), (4, 4))[0],
                           pairing.noise_at(jax.random.key(0), jnp.array([2]), (4, 4))[0])


def test_stored_pairs_have_the_name_that_they_were_given_and_a_bad_file_is_named(tmp_path):
    pairs = pairing.Pairs(3, np.arange(50, dtype=np.uint32), np.zeros(50, np.int32))
    pairs.save(tmp_path / "pairs")
    assert pairing.Pairs.load(tmp_path / "pairs").seed == 3
    whole = (tmp_path / "pairs").read_bytes()
    np.savez(tmp_path / "foreign.npz", other=np.ones(2))
    np.save(tmp_path / "one.npy", np.ones(2))
    for name, content in (("empty", b""), ("cut", whole[:len(whole) // 2]), ("text", b"pairs"),
                          ("foreign.npz", None), ("one.npy", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} holds no whole set of pairs"):
            pairing.Pairs.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no pairs at"):
        pairing.Pairs.load(tmp_path / "absent")


def test_whole_data_set_gets_equal_shares(images):
    """n ≥ m: every datum is due n/m partners; counts follow the column marginal."""
    pairs = pairing.collect(1, pairing.stream_pairs(1, images, n=400, epsilon=0.1, batches=4))
    counts = np.bincount(pairs.data_id, minlength=40)
    assert counts.sum() == 1600 and 20 < counts.min() and counts.max() < 60


def test_warm_start_saves_sweeps_and_keeps_the_answer(images):
    def total(warm):
        stream = list(pairing.stream_pairs(2, images, n=200, epsilon=0.1, batches=4, warm=warm,
                                           method="plain"))
        return sum(int(s.result.steps) for s in stream[1:]), stream[-1].sharpness
    (cold, sharp_cold), (warm, sharp_warm) = total(False), total(True)
    assert warm < cold and abs(sharp_cold - sharp_warm) < 5e-3


def test_oracle_each_batch_starts_from_potentials_of_its_own_data(images, monkeypatch):
    """With fewer noise points than data, another part of the data comes with every batch."""
    seen, solve = [], pairing.sinkhorn

    def watched(x, y, *, init, **settings):
        seen.append((y, init))
        return solve(x, y, init=init, **settings)

    monkeypatch.setattr(pairing, "sinkhorn", watched)
    stream = list(pairing.stream_pairs(2, images, n=20, epsilon=0.5, batches=3))
    assert seen[0][1] is None and len(seen) == 3
    for last, (y, start) in zip(stream, seen[1:], strict=False):
        np.testing.assert_allclose(start, last.result.target_potential(y), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_principal_directions_are_orthonormal_and_ordered(d, seed):
    y = jax.random.normal(jax.random.key(seed), (30, d)) * jnp.arange(1.0, d + 1)
    V = pairing.principal_directions(y, d)
    assert jnp.allclose(V.T @ V, jnp.eye(d), atol=1e-4)
    spread = jnp.var((y - y.mean(0)) @ V, axis=0)
    assert bool(jnp.all(spread[:-1] >= spread[1:] * 0.999))


def test_projected_cost_couples_as_the_data_vary(images):
    V = pairing.principal_directions(jnp.asarray(images.reshape(40, -1)), 16)
    full = next(pairing.stream_pairs(3, images, n=40, epsilon=0.05, batches=1, max_steps=20_000))
    turned = next(pairing.stream_pairs(3, images, n=40, epsilon=0.05, batches=1, directions=V,
                                       max_steps=20_000))
    assert abs(full.sharpness - turned.sharpness) < 0.01  # all 16 directions: only a rotation


def test_failure_sentences(pools, images, key, tmp_path):
    x, y = pools
    with pytest.raises(ValueError, match="does not divide"):
        pairing.couple_in_batches(key, x, y, n=7, epsilon=0.1)
    with pytest.raises(ValueError, match="one shape"):
        pairing.couple_in_batches(key, x, y[:10], n=2, epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon"):
        pairing.couple_in_batches(key, x, y, n=8, epsilon=-1.0)
    with pytest.raises(ValueError, match="n ≥ 2"):
        list(pairing.stream_pairs(0, images, n=1, epsilon=0.1, batches=1))
    with pytest.raises(ValueError, match="between 1 and d"):
        pairing.principal_directions(x, 9)
    with pytest.raises(RuntimeError, match="max_steps"):
        pairing.collect(0, pairing.stream_pairs(0, images, n=20, epsilon=0.01, batches=1,
                                                max_steps=1))
    with pytest.raises(FileNotFoundError, match="stream_pairs"):
        pairing.Pairs.load(tmp_path / "none.npz")
