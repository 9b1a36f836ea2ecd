"""Blocks of rows: the same answer whatever the block, and no more rows at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core.blocks import in_blocks


@pytest.mark.parametrize("block", [1, 3, 4, 7, 100])
def test_invariant_the_block_is_no_part_of_the_answer(block):
    rows = {"x": jnp.arange(14.0).reshape(7, 2), "k": jnp.arange(7)}
    seen = []

    def double(rows):
        seen.append(len(rows["k"]))
        return 2 * rows["x"], rows["k"] ** 2

    twice, squares = in_blocks(double, rows, block)
    np.testing.assert_array_equal(twice, 2 * rows["x"])
    np.testing.assert_array_equal(squares, np.arange(7) ** 2)
    assert max(seen) <= block


def test_gradient_goes_through_the_blocks_and_ignores_the_filling():
    x = jnp.linspace(0.1, 1.0, 7)
    slope = jax.grad(lambda x: jnp.sum(in_blocks(jnp.sin, x, 3)))(x)
    np.testing.assert_allclose(slope, jnp.cos(x), rtol=1e-6)
