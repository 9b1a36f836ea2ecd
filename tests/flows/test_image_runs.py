"""The road of large budgets, walked at a small size: task, pairs, training, scores."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core import data
from otlab.couplings.semidiscrete import SemidiscreteResult, solve, standard_normal
from otlab.couplings.semidiscrete.classes import solve_classes
from otlab.flows import image_runs
from otlab.flows.image_runs import Coupled, Independent


@pytest.fixture(scope="module")
def task():
    """60 images 6 x 6, black with a bright pixel whose place is the label."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.normal(-1, 0.1, (60, 6, 6)).astype(np.float32)
    images[np.arange(60), 1 + labels, 2] = 1
    return image_runs.ImageTask("made up", images[:45], labels[:45], images[45:], labels[45:],
                                "this test", "none")


@pytest.fixture(scope="module")
def potential(task) -> SemidiscreteResult:
    return solve(jax.random.key(1), standard_normal(36), task.images.reshape(45, 36), epsilon=0.0,
                 tol=1.0, max_steps=64, batch=64)


RUN = dataclasses.replace(image_runs.RUNS["digits"], channels=(4, 8), steps=6, batch=8, every=4)


def test_oracle_independent_pairs_are_noise_and_rows(task):
    pairs = Independent(task.images, 500, task.labels, drop=0.25)
    x0, x1, labels = eqx.filter_jit(pairs)(jax.random.key(0))
    assert x0.shape == x1.shape == (500, 6, 6)
    assert abs(float(x0.mean())) < 0.03 and abs(float(x0.std()) - 1) < 0.03
    rows = {row.tobytes(): k for k, row in enumerate(task.images)}
    found = np.array([rows[row.tobytes()] for row in np.asarray(x1)])
    assert len(set(found)) > 40
    dropped = np.asarray(labels) == 3                        # "no label" is the number of labels
    assert 0.18 < dropped.mean() < 0.32
    np.testing.assert_array_equal(np.asarray(labels)[~dropped], task.labels[found][~dropped])
    assert abs(np.corrcoef(np.asarray(x0).mean((1, 2)), np.asarray(x1).mean((1, 2)))[0, 1]) < 0.2


def test_oracle_coupled_noise_meets_the_atom_that_owns_it(task, potential):
    """NumPy's own argmax of <x, y> + g."""
    x0, x1, labels = eqx.filter_jit(Coupled(potential, task.images, 200, task.labels))(
        jax.random.key(2))
    y = task.images.reshape(45, 36)
    scores = np.asarray(x0, np.float64).reshape(200, 36) @ y.T + np.asarray(potential.g)
    best = np.sort(scores, axis=1)
    sure = best[:, -1] - best[:, -2] > 1e-3
    owner = scores.argmax(1)
    np.testing.assert_array_equal(np.asarray(x1)[sure], task.images[owner[sure]])
    np.testing.assert_array_equal(np.asarray(labels)[sure], task.labels[owner[sure]])


def test_invariant_a_coupling_of_classes_pairs_within_labels(task):
    classes = solve_classes(jax.random.key(1), standard_normal(36), task.images.reshape(45, 36),
                            task.labels, epsilon=0.0, tol=1.0, max_steps=64, batch=64)
    _, x1, labels = eqx.filter_jit(Coupled(classes, task.images, 200, task.labels))(
        jax.random.key(2))
    assert (np.asarray(x1)[np.arange(200), 1 + np.asarray(labels), 2] == 1).all()
    assert np.bincount(labels, minlength=3).min() > 40


def test_invariant_a_run_is_trained_kept_and_read_back(task, potential, tmp_path, key):
    pairs = Coupled(potential, task.images, RUN.batch, task.labels, drop=0.1)
    told = []
    fit = image_runs.train_images(key, task, pairs, RUN, folder=tmp_path, conditional=True,
                                  report=lambda step, loss: told.append(step))
    assert told == [4, 6] and fit.losses.shape == (6,) and bool(jnp.isfinite(fit.losses).all())
    again = image_runs.train_images(key, task, pairs, RUN, folder=tmp_path, conditional=True)
    np.testing.assert_array_equal(fit.model.conv_out.weight, again.model.conv_out.weight)
    judge = image_runs.train_judge(jax.random.key(3), task, steps=30)
    assert 0 <= judge.accuracy <= 1
    table = image_runs.scores(key, fit.model, task, judge, steps=(1, 3), labels=task.test_labels,
                              block=8)
    assert list(table) == [1, 3] and all(np.isfinite(list(table.values())))
    # Real images score better than those of six steps of training.
    assert judge.frechet(task.images[:15]) < min(table.values())


def test_invariant_blocks_are_no_setting_of_the_pictures(task, key):
    class Push(eqx.Module):
        def __call__(self, t, x, label):
            return jnp.full_like(x, label.astype(x.dtype))

    labels = jnp.arange(5)
    images = image_runs.generate(key, Push(), task, 5, steps=2, labels=labels, block=3)
    noise = image_runs.generate(key, Push(), task, 5, steps=2, labels=0 * labels, block=3)
    assert images.shape == (5, 6, 6)
    np.testing.assert_allclose(images - noise, np.arange(5)[:, None, None] * np.ones((6, 6)),
                               atol=1e-5)


def test_oracle_flips_double_the_images(monkeypatch):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (10, 4, 4, 3)).astype(np.float32)
    made = data.Images("cifar10", pixels, np.arange(10), "here", "none", own_test=2)
    monkeypatch.setattr(data, "images", lambda name: made)
    plain, doubled = (image_runs.image_task("cifar10", flips=f) for f in (False, True))
    assert plain.images.shape == (8, 4, 4, 3) and plain.test.shape == (2, 4, 4, 3)
    assert plain.shape == (4, 4, 3) and plain.classes == 8
    np.testing.assert_array_equal(doubled.images[:8], plain.images)
    np.testing.assert_array_equal(doubled.images[8:, :, 0], plain.images[:, :, 3])
    np.testing.assert_array_equal(doubled.labels, np.tile(plain.labels, 2))
    np.testing.assert_array_equal(doubled.test, plain.test)


def test_every_run_names_sizes_that_its_images_allow():
    colour = (32, 32, 3)
    shapes = {"digits": (8, 8), "mnist": (28, 28), "cifar10": colour, "imagenet32": colour}
    assert image_runs.RUNS.keys() == shapes.keys()
    for name, run in image_runs.RUNS.items():
        model = eqx.filter_eval_shape(lambda name=name, run=run: image_runs.UNet(
            shapes[name], run.channels, blocks=run.blocks, key=jax.random.key(0)))
        assert eqx.filter_eval_shape(model, jnp.float32(0), jnp.zeros(shapes[name])).shape \
            == shapes[name]
        assert run.steps >= run.every


def test_failure_sentences(task, potential, key):
    with pytest.raises(ValueError, match="mirrored digit"):
        image_runs.image_task("digits", flips=True)
    with pytest.raises(ValueError, match="45 atoms and data 15 rows"):
        Coupled(potential, task.test, 8)
    with pytest.raises(ValueError, match=r"labels wants one a row of data, \(45,\)"):
        Independent(task.images, 8, task.labels[:7])
    with pytest.raises(ValueError, match="share between 0 and 1"):
        Independent(task.images, 8, task.labels, drop=1.5)
