"""The small language: its styles, its judges, and a model that learns it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.language import tiny_grammar as tiny


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.integers(0, 99), st.booleans(), st.booleans())
def test_invariant_every_sentence_has_the_styles_asked_for(n, seed, sea, glad):
    texts = tiny.sentences(n, seed=seed, sea=sea, glad=glad)
    assert len(texts) == n and tiny.well_formed(texts).all()
    assert (tiny.share(texts, "sea") == sea).all() and (tiny.share(texts, "glad") == glad).all()
    assert tiny.sentences(n, seed=seed, sea=sea, glad=glad) == texts


def test_invariant_words_are_one_token_each_and_styles_share_none():
    assert len(set(tiny.WORDS)) == len(tiny.WORDS)
    for text in tiny.sentences(3, seed=0) + tiny.counts(3, seed=0):
        ids = tiny.encode(text)
        assert len(ids) == 11 and tiny.decode(ids) == text


def test_oracle_shares_and_forms():
    texts = ["the old whale sees near the old road again .", "one two three"]
    np.testing.assert_allclose(tiny.share(texts, "sea"), [1 / 3, 0])
    assert list(tiny.well_formed(texts)) == [True, False]
    assert not tiny.share(tiny.counts(4, seed=1), "sea").any()


def test_invariant_a_short_training_learns_the_frame_of_a_sentence():
    model = tiny.train(seed=0, steps=120, width=32, layers=2)
    held = tiny.sentences(32, seed=10**6)
    assert model.perplexity_of(held) < 0.4 * len(tiny.WORDS)
    assert model.perplexity_of(held) < 0.6 * model.perplexity_of(
        [" ".join(sorted(text.split())) for text in held])
    assert all(not p.requires_grad for p in model.net.parameters())


def test_invariant_weights_come_back_with_their_notes(tmp_path):
    model = tiny.train(seed=1, steps=2, width=32, layers=1)
    again, notes = tiny.load(tiny.save(model, tmp_path / "w.safetensors", seed=1))
    assert notes["seed"] == 1 and notes["width"] == 32
    texts = tiny.counts(3, seed=0)
    assert again.perplexity_of(texts) == model.perplexity_of(texts)
    with pytest.raises(FileNotFoundError, match="train and save"):
        tiny.load(tmp_path / "none.safetensors")


def test_failure_sentences():
    with pytest.raises(ValueError, match="style must"):
        tiny.share(["the"], "sad")
    with pytest.raises(ValueError, match="no word"):
        tiny.encode("the aeroplane")
