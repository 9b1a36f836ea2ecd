"""One potential a label: labels meet labels, each class is balanced, odd labels are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.couplings import semidiscrete
from otlab.couplings.semidiscrete import classes as semidiscrete_classes

NORMAL = semidiscrete.standard_normal(2)
SIZES = dict(batch=128, eval_batch=1024)


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


def test_failure_names_the_class(key):
    y, labels = jax.random.normal(key, (40, 2)), np.repeat([2, 9], 20)
    r = semidiscrete_classes.solve_classes(key, NORMAL, y, labels, max_steps=1, tol=1e-4, **SIZES)
    with pytest.raises(RuntimeError, match="class 2: stopped at max_steps"):
        r.require_converged()
