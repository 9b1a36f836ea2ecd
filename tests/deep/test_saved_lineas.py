"""The saved runs of the LinEAS chapter agree with each other, and can be made again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from otlab.language import tiny_grammar
from otlab.steering import lineas
from otlab.steering.maps import Maps, steer

SAVED = Path(__file__).resolve().parents[2] / "notebooks" / "results" / "lineas"


@pytest.fixture(scope="module")
def speaker():
    return tiny_grammar.load(SAVED / "speaker.safetensors")


def test_oracle_saved_maps_have_the_saved_supports():
    for name, file in (("lineas", "maps_32_0"), ("sparse_8", "maps_8_0.4"),
                       ("lineas_8", "maps_8_0")):
        maps = Maps.load(SAVED / f"{file}.safetensors")
        on = json.loads((SAVED / f"{name}.json").read_text("utf-8"))["on"][0]
        assert lineas.support(maps) == pytest.approx(np.mean(on), abs=1e-4)


def test_oracle_the_speaker_speaks_as_the_table_says(speaker):
    model, notes = speaker
    assert notes["steps"] >= 1_000 and "otlab run lineas" in notes["command"]
    with np.load(SAVED / "speech.npz") as file:
        row = file["LinEAS_32"][0, 0]          # seed 0, unsteered
    texts = ["the " + t for t in model.generate(["the"] * 100, new=9, seed=0).texts]
    found = [tiny_grammar.share(texts, s).mean() for s in ("sea", "glad")]
    np.testing.assert_allclose(found, row[:2], atol=0.03)
    cost = np.log(model.perplexity_of(tiny_grammar.counts(64, seed=10**6)))
    assert cost == pytest.approx(row[3], rel=0.02)


def test_oracle_a_map_fitted_again_steers_as_the_saved_ones_do(speaker):
    model, _ = speaker
    with np.load(SAVED / "speech.npz") as file:
        saved = file["LinEAS_32"][:, 4, 0]     # share of sea words at strength 1, five seeds
    bags = (tiny_grammar.sentences(32, seed=9 * 10**6), tiny_grammar.sentences(
        32, seed=9 * 10**6 + 1, sea=True))
    maps = lineas.fit(model, *bags, model.blocks, steps=100, rate=0.02, seed=9, batch=32,
                      optimiser="sgd").maps
    with steer(model, maps, 1.0):
        texts = ["the " + t for t in model.generate(["the"] * 100, new=9, seed=9).texts]
    assert abs(tiny_grammar.share(texts, "sea").mean() - saved.mean()) < 0.15


def test_oracle_a_short_retraining_of_the_speaker_is_on_its_way(speaker):
    model, _ = speaker
    short = tiny_grammar.train(seed=0, steps=60)
    held = tiny_grammar.sentences(64, seed=10**7)
    assert model.perplexity_of(held) < short.perplexity_of(held) < len(tiny_grammar.WORDS) / 2
    assert {k: v.shape for k, v in short.net.state_dict().items()} == {
        k: v.shape for k, v in model.net.state_dict().items()}
    assert all(torch.isfinite(v).all() for v in model.net.state_dict().values())
