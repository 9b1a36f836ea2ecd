"""The saved teacher of digits is what its metadata say, and training begins as it did then."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core import data
from otlab.core.weights import load_model
from otlab.flows.autoregressive import (
    Batches,
    Likelihood,
    decode,
    encode,
    log_likelihood,
    patch_flow,
)
from otlab.learning import loop as steps
from otlab.learning.optimiser import AdamW

PATH = (Path(__file__).resolve().parents[2] / "notebooks" / "results" / "normalized_flow_matching"
        / "teacher.safetensors")
STEPS = 12


def flow():
    return patch_flow((8, 8), patch=2, key=jax.random.key(40))


@pytest.fixture(scope="module")
def digits():
    """(training, held-out) digits with the training set's mean and spread taken out."""
    train, held = data.digits().split(0.2)
    centre, spread = float(train.images.mean()), float(train.images.std())
    return tuple(jnp.asarray((d.images - centre) / spread) for d in (train, held))


@pytest.fixture(scope="module")
def saved():
    return load_model(PATH, eqx.filter_eval_shape(flow))


def test_oracle_saved_score_is_that_of_the_saved_weights(saved, digits):
    teacher, meta = saved
    x = digits[1] + meta["eta"] * jax.random.normal(jax.random.key(41), digits[1].shape)
    score = -float(log_likelihood(teacher, x).mean()) / 64
    assert score == pytest.approx(meta["held_out_nats_per_pixel"], abs=2e-3)
    untrained = -float(log_likelihood(flow(), x).mean()) / 64
    assert score < untrained - 0.5


def test_invariant_saved_teacher_inverts(saved, digits):
    x = digits[1][:8]
    np.testing.assert_allclose(decode(saved[0], encode(saved[0], x)[0]), x, atol=1e-3)


def test_invariant_training_begins_as_it_did(saved, digits):
    meta = saved[1]
    model = flow()
    state = steps.init(model, AdamW(model, rate=2e-3, decay=1e-4), steps=meta["steps"])
    key = jax.random.key(300 + meta["seed"])
    run = steps.Run(key, Batches(digits[0], None, 64), Likelihood(meta["eta"]), batch=64)
    losses = steps.advance(run, state, STEPS)[1]["loss"]
    np.testing.assert_allclose(losses, meta["first_losses"][:STEPS], rtol=5e-3)
    assert losses[-1] < losses[0]
