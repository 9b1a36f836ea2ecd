"""Checks of arguments: what passes comes back as it was, what does not is named in a sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core.inputs import (
    all_finite,
    check_pair,
    cloud,
    clouds,
    finite,
    known,
    number,
    positive,
    positive_int,
    simplex,
    whole,
)

CLOUD = np.arange(6.0, dtype=np.float32).reshape(3, 2)
BAD = np.where(CLOUD == 3, np.nan, CLOUD)


def fraction(v):
    return number("ratio", v, lambda r: (r > 0) & (r <= 1), "above 0 and at most 1")


def test_what_is_right_comes_back_as_it_was():
    assert positive("rate", 0.1) == 0.1 and fraction(1) == 1
    assert positive_int("steps", np.int64(3)) == 3 and type(positive_int("steps", 3.0)) is int
    assert finite("x", CLOUD) is CLOUD and cloud("x", CLOUD) is CLOUD
    rates = np.array([0.5, 1.0])
    assert fraction(rates) is rates                                  # one a model of a stack
    check_pair(CLOUD, CLOUD)


@pytest.mark.parametrize("call, words", [
    (lambda: positive("rate", 0), "rate must be a positive number; got 0"),
    (lambda: positive("rate", np.nan), "rate .* got nan"),
    (lambda: positive("rate", np.inf, "Try 0.1."), "got inf. Try 0.1."),
    (lambda: fraction(np.array([0.5, 2.0])), "ratio must be above 0 and at most 1"),
    (lambda: positive_int("steps", 0), "steps must be a whole number of at least 1; got 0"),
    (lambda: positive_int("steps", True), "steps .* got True"),
    (lambda: positive_int("steps", 2.5), "steps .* got 2.5"),
    (lambda: finite("x", BAD), "x holds NaN or infinite values; drop such rows."),
    (lambda: finite("x", jnp.asarray(BAD)), "x holds NaN"),
    (lambda: cloud("x", CLOUD[:0]), r"x must hold at least one point.*x\[None\]"),
    (lambda: cloud("x", CLOUD[0]), "at least one point"),
    (lambda: cloud("x", BAD), "did the sampler diverge\\?$"),
    (lambda: clouds(CLOUD, CLOUD[:, :1], "solve"), "solve wants x .n, d. and y .m, d."),
    (lambda: clouds(CLOUD, BAD, "solve"), "y holds NaN or infinity in 1 of 3 rows, .* row 1"),
    (lambda: clouds(CLOUD + 1j, CLOUD, "solve"), "real points"),
    (lambda: simplex("a", [0.5, 0.5], 3, np.float32, "solve"), "one weight a point"),
    (lambda: simplex("a", [0.5, -0.5, 1], 3, np.float32, "solve"), r"a\[1\] is -0.5"),
    (lambda: simplex("a", [0.5, 0.5, 1], 3, np.float32, "solve"), "a sums to 2"),
    (lambda: check_pair(CLOUD, CLOUD[:2]), "paired row by row"),
])
def test_what_is_wrong_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_numbers_under_a_trace_pass_and_shapes_are_still_checked():
    @jax.jit
    def program(rate, x):
        assert not known(rate) and not known(x) and known(1.0, CLOUD)
        with pytest.raises(ValueError, match="at least one point"):
            cloud("x", x[:0])
        return positive("rate", rate) + finite("x", x).sum()

    assert np.isnan(program(-1.0, BAD))                              # nothing was refused


def test_arrays_known_inside_jit_are_looked_at():
    fixed = jnp.asarray(BAD)

    @jax.jit
    def program(t):
        assert not all_finite(fixed) and all_finite(t)
        return t

    program(1.0)


def test_numpy_numbers_beyond_float32_are_finite():
    assert all_finite(np.array([1e300])) and not all_finite(np.array([np.inf]))


def test_clouds_share_a_floating_type_and_weights_are_equal_when_none():
    x, y = clouds(np.arange(4).reshape(2, 2), CLOUD.astype(np.float16), "solve")
    assert x.dtype == y.dtype == np.float32
    assert simplex("a", None, 4, np.float32, "solve").tolist() == [0.25] * 4


@pytest.mark.parametrize("value, is_whole", [(1, True), (np.int8(5), True), (0, False),
                                             (True, False), (1.0, False), (2**31, False)])
def test_whole_numbers(value, is_whole):
    assert whole(value) is is_whole
