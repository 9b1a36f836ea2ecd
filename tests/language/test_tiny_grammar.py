"""The small language: its styles, its judges, and a model that learns it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from otlab.core.weights import load_arrays, save_arrays
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
    with pytest.raises(FileNotFoundError, match="no weights at"):
        tiny.load(tmp_path / "none.safetensors")


def small(**shape):
    return tiny.train(seed=2, steps=1, batch=2, **({"width": 16, "layers": 1} | shape))


def test_invariant_weights_of_before_there_was_one_key_are_loaded(tmp_path):
    model = small()
    head = {"layers": 1, "width": 16, "seed": 5}
    save_file(model.net.state_dict(), tmp_path / "old",
              metadata={"otlab.tiny_grammar": json.dumps(head)})
    old, notes = tiny.load(tmp_path / "old")
    assert notes == head
    assert all(torch.equal(a, b) for a, b in
               zip(old.net.parameters(), model.net.parameters(), strict=True))


def test_invariant_any_name_any_numbers_any_precision(tmp_path):
    model = small()
    assert tiny.save(model.to(torch.bfloat16), tmp_path / "w", seed=np.int64(3)).name == "w"
    again, notes = tiny.load(tmp_path / "w")
    assert notes["seed"] == 3 and again.dtype == torch.float32
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    for a, b in zip(again.net.parameters(), model.net.parameters(), strict=True):
        assert torch.equal(a, b.to(torch.bfloat16).float()) and not a.requires_grad


def test_failure_files_that_hold_no_tiny_grammar(tmp_path):
    whole = tiny.save(small(), tmp_path / "whole").read_bytes()
    for name, content in (("empty", b""), ("cut", whole[:-3]), ("text", b"the old letter")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no whole safetensors file"):
            tiny.load(tmp_path / name)
    save_file({"w": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="other holds no tiny grammar"):
        tiny.load(tmp_path / "other")
    arrays, notes = load_arrays(tmp_path / "whole")
    save_arrays(tmp_path / "wider", arrays, notes | {"width": 32})
    with pytest.raises(ValueError, match="wider holds another model than it notes, 1 layers of"):
        tiny.load(tmp_path / "wider")
    with pytest.raises(ValueError, match="notes layers of the model itself"):
        tiny.save(small(), tmp_path / "whole", layers=7)
    assert (tmp_path / "whole").read_bytes() == whole


def test_failure_sentences():
    with pytest.raises(ValueError, match="style must"):
        tiny.share(["the"], "sad")
    with pytest.raises(ValueError, match="no word"):
        tiny.encode("the aeroplane")
