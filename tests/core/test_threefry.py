"""Random bits: Threefry's published answers, jax's own numbers, and one kernel a draw."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core import threefry

PUBLISHED = [  # key, counters, answer: Random123, known answers of threefry2x32 with 20 rounds
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0))]

PLAIN = """
import json, jax, numpy as np
key = jax.random.key(5)
draws = [jax.random.bits(key, (3, 5)), jax.random.normal(key, (7,)),
         jax.random.randint(key, (4,), 0, 99), jax.random.permutation(key, 9),
         jax.random.key_data(jax.random.split(key, 3)), jax.random.bits(key, (5,), "uint8"),
         jax.vmap(lambda k: jax.random.gumbel(k, (2,)))(jax.random.split(key, 3))]
print(json.dumps([np.asarray(draw, np.float64).tolist() for draw in draws]))
"""


@pytest.mark.parametrize("key, counters, answer", PUBLISHED)
def test_oracle_published_answers(key, counters, answer):
    words = [jnp.asarray(word, jnp.uint32) for word in (*key, *counters)]
    assert tuple(int(word) for word in jax.jit(threefry.threefry)(*words)) == answer


def test_oracle_the_numbers_are_those_of_jax_alone():
    def printed(code):
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              check=True).stdout

    assert printed(PLAIN) == printed("import otlab.core.inputs" + PLAIN)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs only")
def test_invariant_a_draw_has_no_loop():
    draw = jax.jit(lambda key: jax.random.normal(key, (513,))).lower(jax.random.key(0))
    assert " while(" not in draw.compile().as_text()


@pytest.mark.parametrize("key, right", [
    (jax.random.key(0), True), (jax.random.PRNGKey(0), True),
    (jax.random.key(0, impl="rbg"), False)])
def test_oracle_numbers_that_depend_on_their_place_alone(key, right):
    assert threefry.by_place(key) is right
    if right:
        np.testing.assert_array_equal(jax.random.normal(key, (5,)),
                                      jax.random.normal(key, (50,))[:5])


def test_invariant_no_number_is_drawn_for_an_empty_shape():
    assert jax.random.normal(jax.random.key(0), (0, 3)).shape == (0, 3)
    np.testing.assert_array_equal(jax.random.split(jax.random.key(0), 0).shape, (0,))
