"""The linear path: ends, speed, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.paths import LinearPath


@settings(max_examples=30, deadline=None)
@given(t=st.floats(0, 1, width=32), a=st.floats(-9, 9, width=32), b=st.floats(-9, 9, width=32))
def test_oracle_a_point_of_the_segment(t, a, b):
    x_t, v_t = LinearPath()(jnp.float32(t), jnp.full(2, a), jnp.full(2, b))
    np.testing.assert_allclose(x_t, a + t * (b - a), atol=1e-5)
    np.testing.assert_allclose(v_t, b - a, atol=1e-5)
    np.testing.assert_allclose(x_t + (1 - t) * v_t, b, atol=1e-4)    # where it is bound for


def test_invariant_ends_are_the_pair():
    x0, x1 = jnp.array([1.0, 2.0]), jnp.array([-3.0, 0.5])
    for t, end in ((0.0, x0), (1.0, x1)):
        np.testing.assert_array_equal(LinearPath()(jnp.float32(t), x0, x1).x_t, end)


def test_gradient_in_time_is_the_velocity():
    x0, x1 = jnp.array([1.0, 2.0]), jnp.array([-3.0, 0.5])
    slope = jax.jacfwd(lambda t: LinearPath()(t, x0, x1).x_t)(jnp.float32(0.3))
    np.testing.assert_allclose(slope, LinearPath()(jnp.float32(0.3), x0, x1).v_t, rtol=1e-6)


def test_failure_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(2,\) and x1 \(3,\)"):
        LinearPath()(jnp.float32(0), jnp.ones(2), jnp.ones(3))
