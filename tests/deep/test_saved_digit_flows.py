"""The saved flows of digits measure as the ReFlow chapter's table says, and train again alike."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core import data
from otlab.core.stats import mean_interval
from otlab.core.weights import load_model
from otlab.flows.measures.metrics import frechet_distance
from otlab.flows.reflow.pairs import generated_pairs, inverted_pairs
from otlab.flows.reflow.recipe import Recipe
from otlab.flows.reflow.times import Exponential
from otlab.flows.sampling import sample
from otlab.learning.fit import fit
from otlab.learning.nets.mlp import Velocity

SAVED = Path(__file__).resolve().parents[2] / "notebooks" / "results" / "reflow"
ARM = {"1-RF": 0, "2 exponential times": 5, "2 + 1 + 5": 13}     # rows of the chapter's table
STEP = {1: 0, 9: 3, 50: 4}                                       # its numbers of Euler steps


@pytest.fixture(scope="module")
def digits():
    return jnp.asarray(data.digits().split(0.2)[0].flat)


@pytest.fixture(scope="module")
def distance(digits):
    """Fréchet distance of a model's samples to the digits, in their 20 leading components."""
    X = np.asarray(digits)
    axes = np.linalg.svd(X - X.mean(0), full_matrices=False)[2][:20].T
    x0 = jax.random.normal(jax.random.key(3_000), (2_000, 64))

    def of(model, steps):
        made = np.asarray(sample(model, x0, steps=steps))
        return frechet_distance((made - X.mean(0)) @ axes, (X - X.mean(0)) @ axes)

    return of


@pytest.fixture(scope="module")
def table():
    """Fréchet distances, (seeds, arms, steps)."""
    with np.load(SAVED / "digits.npz") as file:
        return file["frechet"][..., 0]


def flow(seed=0):
    return Velocity(64, 192, 3, key=jax.random.key(seed))


@pytest.fixture(scope="module")
def first():
    return load_model(SAVED / "digits_1rf.safetensors", flow())


@pytest.mark.parametrize("steps", [1, 9])
def test_oracle_saved_digit_flows_are_those_of_the_table(steps, table, distance, first):
    second = load_model(SAVED / "digits_2rf.safetensors", flow())
    for (model, meta), stem in ((first, "1-RF"), (second, "2 + 1 + 5")):
        assert meta["recipe"] == stem and meta["seed"] == 0
        assert "otlab run reflow" in meta["command"]
        assert distance(model, steps) == pytest.approx(table[0, ARM[stem], STEP[steps]], rel=0.02)


def test_oracle_a_short_reflow_lands_in_the_interval_of_the_table(table, distance, first):
    """A smaller budget: 400 steps on 2,048 pairs in place of 1,000 on 12,000, five seeds there."""
    made = generated_pairs(jax.random.key(5_000), first[0], 2_048, (64,), steps=50)
    recipe = Recipe(times=Exponential(10.0)).training(made, None, batch=256)
    again = fit(jax.random.key(2_000), first[0], steps=400, rate=5e-4, **recipe).model
    for steps in (9, 50):
        saved = mean_interval(table[:, ARM["2 exponential times"], STEP[steps]])
        assert abs(distance(again, steps) - saved.mean) < 1.5 * saved.half_width
    assert distance(again, 1) < 0.2 * table[0, ARM["1-RF"], STEP[1]]


def test_oracle_noise_inverted_by_the_saved_flow_is_as_short_as_the_table_says(first, digits):
    with np.load(SAVED / "digits.npz") as file:
        saved = mean_interval(file["noise"][:, 0])
    back = inverted_pairs(first[0], digits[:512], steps=50)[0]
    assert float((back**2).mean()) == pytest.approx(saved.mean, abs=2 * saved.half_width + 0.01)
