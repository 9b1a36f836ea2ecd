"""Saved texts of the steering chapter: their numbers are their own, and they are written again."""

import json
from pathlib import Path

import carried_model
import numpy as np
import pytest
import torch

from otlab.core.data.texts import CONCEPTS, bags
from otlab.lab.execution.fingerprint import RECORD
from otlab.steering import activation_transport as act
from otlab.steering.maps import Maps, steer
from otlab.steering.side_by_side import turn_rows

SAVED = Path(__file__).resolve().parents[2] / "notebooks" / "results" / "activation_transport"
ARMS = sorted(set(SAVED.glob("*.json")) - {SAVED / RECORD})


def read(path):
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def model():
    carried = carried_model.opened()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield carried
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def football(model):
    """Small maps of two blocks, fitted once."""
    source, target = bags(CONCEPTS["football"], 8, seed=0)
    return act.fit(model, source, target, model.blocks[15:17], method="linear")


def test_there_are_saved_runs():
    assert len(ARMS) >= 30


@pytest.mark.parametrize("path", ARMS, ids=lambda p: p.stem)
def test_invariant_the_numbers_of_a_run_are_those_of_its_texts(path):
    run = read(path)
    stamp, texts = run["stamp"], run["texts"]
    given = stamp["given"]
    assert stamp["command"].startswith("otlab run activation_transport")
    assert stamp["date"] and stamp["machine"] and given["seeds"] >= 5
    assert run["strength"] == given["strengths"] and len(texts) == len(run["strength"])
    assert all(len(seeds) == given["seeds"] for seeds in texts)
    assert all(len(group) == given["continuations"] for seeds in texts for group in seeds)
    concept = CONCEPTS[given["concept"]]
    shares = [[concept.presence(group).mean() for group in seeds] for seeds in texts]
    np.testing.assert_allclose(run["presence"], shares, atol=1e-9)
    assert (np.array(run["perplexity"]) > 1).all()


@pytest.mark.deep
@pytest.mark.parametrize("arm", ["none", "football_mean"])
def test_oracle_saved_texts_are_written_again(model, arm):
    """Their first words, at strength 1: rounding may turn a draw, so nine in ten must agree."""
    run = read(SAVED / f"{arm}.json")
    given = run["stamp"]["given"]
    groups, strength = range(given["seed"], given["seed"] + given["seeds"]), run["strength"][0]
    maps = None
    if arm != "none":
        strength = 1.0
        maps = [act.fit(model, *bags(CONCEPTS[given["concept"]], given["n"], seed=s),
                        model.blocks[15:25], method=given["method"]) for s in groups]
    again = turn_rows(model, maps, ["Once upon a time"] * given["continuations"],
                      strengths=[strength], groups=len(groups), new=3, seed=given["seed"],
                      shows=CONCEPTS["football"].presence, top_p=given["top_p"])["texts"][0]
    saved = run["texts"][run["strength"].index(strength)]
    pairs = [(new, old) for a, b in zip(again, saved, strict=True)
             for new, old in zip(a, b, strict=True)]
    assert len(pairs) == given["seeds"] * given["continuations"]
    assert np.mean([old.startswith(new) for new, old in pairs]) >= 0.9


@pytest.mark.deep
def test_invariant_maps_of_the_carried_model_are_kept_and_write_the_same_text(
        model, football, tmp_path):
    back = Maps.load(football.save(tmp_path / "football.safetensors"))
    assert back.info["model"] == model.name and list(back) == list(football)
    texts = []
    for maps in (football, back):
        with steer(model, maps, 1.0):
            texts.append(model.generate(["Once upon a time"] * 2, new=6, seed=3).texts)
    assert texts[0] == texts[1]


@pytest.mark.deep
def test_invariant_strength_zero_is_the_carried_model_bit_for_bit(model, football):
    tokens = model.tokens(["Once upon a time", "The road"])
    with torch.no_grad():
        plain = model.run(tokens)
        with steer(model, football, 0):
            assert torch.equal(model.run(tokens), plain)
        with steer(model, football, 1e-3):
            assert not torch.equal(model.run(tokens), plain)
