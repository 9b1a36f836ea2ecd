"""Answers and hidden states of a tiny random model."""

import numpy as np
import pytest
import torch
from tiny_models import tiny

from otlab.steering import harvest


def test_oracle_states_are_what_the_blocks_put_out():
    model, texts = tiny(), ["a cat sat.", "b", "the dog ran far, far away."]
    states = harvest.last_states(model, texts)
    assert states.shape == (4, 3, 32) and states.dtype == np.float16
    for k, text in enumerate(texts):
        seen = []
        hooks = [b.register_forward_hook(lambda m, i, o, seen=seen: seen.append(o[0, -1]))
                 for b in model.net.model.layers]
        model.run(model.tokens([text]))
        for hook in hooks:
            hook.remove()
        np.testing.assert_allclose(states[:, k], torch.stack(seen), atol=5e-3, rtol=5e-3)


def test_invariant_batches_order_and_layers():
    model, texts = tiny(), ["a cat sat.", "b", "the dog ran far.", "no", "yes yes"]
    whole = harvest.last_states(model, texts).astype(float)
    one = harvest.last_states(model, texts, batch=1, layers=[2, 4]).astype(float)
    np.testing.assert_allclose(whole[[1, 3]], one, atol=5e-3, rtol=5e-3)
    flipped = harvest.last_states(model, texts[::-1]).astype(float)
    np.testing.assert_allclose(whole[:, ::-1], flipped, atol=5e-3, rtol=5e-3)


def test_oracle_answers_are_greedy_and_their_states_are_kept_apart():
    model, prompts = tiny(), ["a cat", "a dogs and", "a cow"]
    got = harvest.answer(model, prompts, new=4, layers=[3])
    written = model.generate(prompts, new=4, seed=0, temperature=0).written
    written = [row[:harvest.answer_length(row, model.decode)] for row in written]
    assert got.written == written and got.texts == [model.decode(w) for w in written]
    whole = [g + w for g, w in zip(got.given, written, strict=True)]
    for name, rows in zip(harvest.POSITIONS, (got.given, whole), strict=True):
        np.testing.assert_allclose(got.states[name].astype(float), harvest.last_states(
            model, rows, layers=[3], batch=1).astype(float), atol=5e-3, rtol=5e-3)
    logp = model.log_likelihoods(got.given, written)
    np.testing.assert_allclose(got.confidence, [float(v.mean()) for v in logp], atol=1e-4)
    assert got.sizes.tolist() == [
        [len(g), len(w), len(t.strip())]
        for g, w, t in zip(got.given, got.written, got.texts, strict=True)]


def test_invariant_a_shared_prefix_is_read_once_and_changes_nothing():
    model = tiny()
    texts = ["the cat is in a", "the cat is on", "the cat is not in the sea"]
    rows = [model.encode(t) for t in texts]
    assert harvest.shared_prefix(rows) == len("the cat is ")
    assert harvest.shared_prefix([[1, 2], [1, 2, 3]]) == 1
    together, alone = (harvest.last_states(model, texts, batch=b).astype(float) for b in (3, 1))
    np.testing.assert_allclose(together, alone, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("text, length", [
    ("ab\ncd", 2), ("\nab\nc", 3), ("abc", 3), ("a\n\n", 1), ("12, 4", 2)])
def test_oracle_answers_end_at_a_line_or_comma(text, length):
    assert harvest.answer_length(list(text), "".join) == length


def test_failure_sentences():
    with pytest.raises(ValueError, match="run from 1 to 4; got .5."):
        harvest.last_states(tiny(), ["a"], layers=[5])
