"""The saved flows of the ReFlow chapter measure as their tables say, and train again alike."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.core.stats import mean_interval
from otlab.core.weights import load_model
from otlab.flows.measures.metrics import curvature
from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.pairs import generated_pairs
from otlab.learning.fit import fit
from otlab.learning.nets.mlp import Velocity

SAVED = Path(__file__).resolve().parents[2] / "notebooks" / "results" / "reflow"


def checkerboard(key, n):
    key_square, key_inside = jax.random.split(key)
    square = jax.random.randint(key_square, (n,), 0, 8)
    row, column = square // 2, 2 * (square % 2) + (square // 2) % 2
    corner = jnp.stack([column, row], 1).astype(jnp.float32) - 2
    return corner + jax.random.uniform(key_inside, (n, 2))


@pytest.fixture(scope="module")
def table():
    """Seeds, number of ReFlows, (straightness, energy distances)."""
    with np.load(SAVED / "plane.npz") as file:
        return file["table"]


@pytest.mark.parametrize("k", [0, 1])
def test_oracle_saved_weights_are_those_of_the_table(table, k):
    model, meta = load_model(SAVED / f"plane_{k}.safetensors",
                             Velocity(2, 96, 3, key=jax.random.key(0)))
    assert meta["reflows"] == k and "otlab run reflow" in meta["command"]
    x0 = jax.random.normal(jax.random.key(300 + meta["seed"]), (4096, 2))
    S = float(curvature(model, x0, steps=100).kappa)
    np.testing.assert_allclose(S, table[0, k, 0], rtol=0.02)


def test_oracle_a_short_retraining_bends_as_the_saved_flows_do(table):
    key = jax.random.key(1)
    board = checkerboard(key, 4096)
    noise = jax.random.normal(jax.random.key(2), board.shape)
    lot = (jnp.tile(noise, (4, 1)), jnp.tile(board, (4, 1))[jax.random.permutation(key, 16384)])
    one = fit(key, Velocity(2, 64, 2, key=key), lot, steps=600, batch=256, rate=3e-3,
              objective=FlowMatching()).model
    x0 = jax.random.normal(jax.random.key(3), (1024, 2))
    S = float(curvature(one, x0, steps=50).kappa)
    saved = mean_interval(table[:, 0, 0])
    assert abs(S - saved.mean) < 0.15 * saved.mean + 4 * saved.half_width
    made = generated_pairs(jax.random.key(4), one, 4096, (2,), steps=50)
    two = fit(key, one, made, steps=300, batch=256, rate=1e-3,
              objective=FlowMatching()).model
    assert float(curvature(two, x0, steps=50).kappa) < 0.05 * S
