"""Blocks of rows: the same answer whatever the block, and no more rows at once."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core import blocks
from otlab.core.blocks import cores, on_one_cpu, over_cores, over_rows, threads


@pytest.fixture
def three_cores(monkeypatch):
    """As on a CPU of three cores, whatever this one has."""
    monkeypatch.setattr(blocks, "cores", lambda: 3)


def sizes_seen(way, n, block) -> list[int]:
    """Rows of each call, once the answer for n rows of a tree was seen to be right."""
    rows = {"x": jnp.arange(2.0 * n).reshape(n, 2), "k": jnp.arange(n), "none": None}
    seen = []

    def double(rows):
        seen.append(len(rows["k"]))
        return 2 * rows["x"], rows["k"] ** 2

    twice, squares = way(double, rows, block)
    np.testing.assert_array_equal(twice, 2 * rows["x"])
    np.testing.assert_array_equal(squares, np.arange(n) ** 2)
    return seen


def blocked(function, rows, block):
    return over_rows(function, block, rows)


@pytest.mark.parametrize("block", [1, 3, 4, 7, 100])
def test_invariant_the_block_is_no_part_of_the_answer(block):
    assert max(sizes_seen(blocked, 7, block)) <= block


def test_gradient_goes_through_the_blocks_and_ignores_the_filling():
    x = jnp.linspace(0.1, 1.0, 7)
    slope = jax.grad(lambda x: jnp.sum(over_rows(jnp.sin, 3, x)))(x)
    np.testing.assert_allclose(slope, jnp.cos(x), rtol=1e-6)


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize(("n", "block", "sizes"), [
    (12, 2, [4, 4, 4]), (8, 2, [4, 4, 4]), (13, 2, [6, 6, 6]), (7, 3, [3, 3, 3]),
    (5, 4, [3, 3]), (4, 4, [4]), (1, 1, [1])])
def test_oracle_shares_are_even_and_of_whole_blocks(n, block, sizes):
    assert sizes_seen(over_cores, n, block) == sizes


@pytest.mark.parametrize("n, block, shards", [(12, 2, 3), (10, 2, 2), (9, 2, 3), (8, 4, 2)])
def test_oracle_rows_of_several_devices_keep_their_places(n, block, shards):
    """Device k holds the rows from k n / shards on; each block takes as many rows from each."""
    x, device = jnp.arange(2.0 * n).reshape(n, 2), jnp.arange(n) * shards // n

    def double(x, device):
        counts = jnp.bincount(device, length=shards)
        return 2 * x, jnp.broadcast_to(counts, (len(x), shards))

    twice, counts = over_rows(double, block, x, device, shards=shards)
    np.testing.assert_array_equal(twice, 2 * x)
    assert (counts == counts[:1, :1]).all() and counts[0, 0] <= block


def test_invariant_parts_run_at_the_same_time():
    """Each waits for the other: one after another, they would wait for ever."""
    meeting = threading.Barrier(2)

    def meet(x):
        meeting.wait(timeout=60)
        return x + 1

    with threads(2) as together:
        assert together(meet, [jnp.zeros(()), jnp.ones(())]) == [1, 2]


@pytest.mark.usefixtures("three_cores")
def test_invariant_settings_of_this_thread_hold_in_every_part():
    here = []

    def halve(x):
        here.append(threading.get_ident())
        return x * jnp.asarray(0.1, jnp.float64)

    with jax.enable_x64(True):
        x = jnp.linspace(0.0, 1.0, 9)
        y = over_cores(halve, x, 2)
        assert y.dtype == jnp.float64 and set(here) == {threading.get_ident()}
        np.testing.assert_array_equal(y, 0.1 * np.asarray(x))


@pytest.mark.usefixtures("three_cores")
def test_invariant_under_a_trace_there_is_one_share():
    def run(x):
        seen.append(x.shape)
        return jnp.sin(x)

    x, seen = jnp.linspace(0.0, 1.0, 8), []
    np.testing.assert_allclose(jax.jit(lambda x: over_cores(run, x, 2))(x), jnp.sin(x), rtol=1e-6)
    slope = jax.grad(lambda x: jnp.sum(over_cores(run, x, 2)))(x)
    np.testing.assert_allclose(slope, jnp.cos(x), rtol=1e-6)
    assert seen == [(8,), (8,)]
    assert on_one_cpu((x, np.zeros(3), "word")) == (jax.default_backend() == "cpu")


@pytest.mark.usefixtures("three_cores")
def test_failure_an_error_in_a_share_is_raised():
    def refuse(x):
        if float(x.max()) > 5:
            raise ValueError("above five")
        return x

    with pytest.raises(ValueError, match="above five"):
        over_cores(refuse, jnp.arange(9.0), 2)
    assert cores() >= 1
