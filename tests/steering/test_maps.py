"""Hooks come and go without a trace; maps move what they should, invert, compose and are kept."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_models import encode, hugging_face, tiny

from otlab.core.weights import save_arrays
from otlab.language.hooks import activations, hooked, pool
from otlab.language.model import Tokens
from otlab.steering.maps import Affine, Maps, steer

TEXTS = ["the cat sat.", "a dog", "once upon a time, there"]


def some_maps(model, scale=0.3, **settings):
    draw = torch.Generator().manual_seed(1)
    names = model.blocks[1:3]
    return Maps({name: Affine(1 + scale * torch.rand(32, generator=draw),
                              scale * torch.randn(32, generator=draw)) for name in names},
                **settings)


def fingerprint(model):
    return [p.clone() for p in model.net.parameters()], \
        [len(m._forward_hooks) for m in model.net.modules()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1] == b[1]


def test_invariant_hooks_leave_the_model_as_it_was_even_after_an_exception():
    model = tiny()
    before, logits = fingerprint(model), model.run(model.tokens(TEXTS))
    with steer(model, some_maps(model)):
        assert not torch.equal(model.run(model.tokens(TEXTS)), logits)
    activations(model, TEXTS, model.blocks)
    with pytest.raises(RuntimeError, match="on purpose"), steer(model, some_maps(model)):
        raise RuntimeError("on purpose")

    def breaks(z):
        raise ArithmeticError("inside a hook")

    with pytest.raises(ArithmeticError), hooked(model, {model.blocks[1]: breaks}):
        model.run(model.tokens(TEXTS))
    assert same(before, fingerprint(model)) and model.positions is None
    assert torch.equal(model.run(model.tokens(TEXTS)), logits)


@pytest.mark.parametrize("kind", ["tiny", "llama", "gemma"])
def test_invariant_strength_zero_is_the_model_bit_for_bit(kind):
    if kind != "tiny":
        pytest.importorskip("transformers")
    model = tiny() if kind == "tiny" else hugging_face(kind)
    plain = model.generate(TEXTS, new=6, seed=2)
    with steer(model, some_maps(model), 0):
        assert model.generate(TEXTS, new=6, seed=2) == plain
    logits = model.run(model.tokens(TEXTS))
    with steer(model, some_maps(model), 1):
        assert not torch.allclose(model.run(model.tokens(TEXTS)), logits)


@pytest.mark.parametrize("kind", ["tiny", "qwen"])
@pytest.mark.parametrize("tokens", ["all", "last"])
def test_invariant_steering_sees_no_padding_and_no_cache(kind, tokens):
    if kind != "tiny":
        pytest.importorskip("transformers")
    model = tiny() if kind == "tiny" else hugging_face(kind)
    maps = some_maps(model, tokens=tokens)
    whole = model.tokens(TEXTS)
    with steer(model, maps, 0.7):
        logits = model.run(whole)
        for row, text in zip(logits, TEXTS, strict=True):
            alone = model.run(model.tokens([text]))[0]
            torch.testing.assert_close(row[-1], alone[-1], atol=2e-5, rtol=1e-4)
        if tokens == "all":
            cache, pieces = model.new_cache(), []
            for stop in (2, 3, whole.ids.shape[1]):
                pieces.append(model.run(Tokens(whole.ids[:, :stop], whole.mask[:, :stop]), cache))
            torch.testing.assert_close(torch.cat(pieces, 1)[whole.mask], logits[whole.mask],
                                       atol=2e-5, rtol=1e-4)


def test_oracle_the_first_token_stays_and_the_others_move():
    model = tiny()
    name = model.blocks[1]
    maps = some_maps(model).only([name])
    plain = activations(model, TEXTS, [name], pooling="none")[name]
    for first in (False, True):
        with steer(model, Maps(dict(maps), first=first), 0.5):
            moved = activations(model, TEXTS, [name], pooling="none")[name]
        for a, b in zip(plain, moved, strict=True):
            expected = a + 0.5 * (maps[name].omega * a + maps[name].beta - a)
            torch.testing.assert_close(b[1:], expected[1:], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(b[0], expected[0] if first else a[0], atol=1e-5, rtol=1e-5)


def test_invariant_blocks_nest_in_order():
    model = tiny()
    name = model.blocks[2]
    a = some_maps(model, 0.2).only([name])
    b = Maps({name: Affine(1 - 2 * (a[name].omega.flip(0) - 1), a[name].beta.flip(0))})
    assert not torch.allclose(a.then(b)[name].beta, b.then(a)[name].beta, atol=1e-2)
    with steer(model, a), steer(model, b):
        nested = model.run(model.tokens(TEXTS))
    with steer(model, a.then(b)):
        composed = model.run(model.tokens(TEXTS))
    torch.testing.assert_close(nested, composed, atol=1e-4, rtol=1e-4)


def test_invariant_saved_maps_write_the_same_text(tmp_path):
    model = tiny()
    guarded = Affine(torch.full((32,), 1.5), torch.ones(32), -torch.ones(32), torch.ones(32))
    maps = Maps(dict(some_maps(model)) | {model.blocks[3]: guarded}, {"method": "test", "n": 3},
                tokens="all", first=True)
    back = Maps.load(maps.save(tmp_path / "maps.safetensors"))
    assert back.info == maps.info and back.first and list(back) == list(maps)
    with steer(model, maps):
        text = model.generate(TEXTS, new=8, seed=5).texts
    with steer(model, back):
        assert model.generate(TEXTS, new=8, seed=5).texts == text


def test_invariant_what_is_saved_is_loaded(tmp_path):
    """One map on two layers, numbers and words for names, NumPy's numbers, any file name."""
    one = Affine(torch.rand(3), torch.rand(3).requires_grad_())
    names = ["0", "2", "10", "head", "layers.9.mlp", "layers.10.mlp", "layers.x", "a|b", "²"]
    info = {"n": np.int64(3), "loss": np.float32(0.5), "modules": ("a", "b")}
    maps = Maps(dict.fromkeys(names[::-1], one), info)
    assert maps.save(tmp_path / "maps").name == "maps"
    back = Maps.load(tmp_path / "maps")
    assert list(back)[:3] == names[:3] and set(back) == set(names)
    assert list(back).index("layers.9.mlp") < list(back).index("layers.10.mlp")
    assert back.info == {"n": 3, "loss": 0.5, "modules": ["a", "b"]}
    for name in names:
        assert torch.equal(back[name].omega, one.omega) and torch.equal(back[name].beta, one.beta)
    assert [p.name for p in tmp_path.iterdir()] == ["maps"]


def test_invariant_maps_of_before_there_was_one_key_are_loaded(tmp_path):
    head = {"info": {"method": "mean", "n": 4}, "tokens": "last", "first": True}
    vectors = {f"layers.{k}|{part}": torch.full((2,), float(k))
               for k in (10, 9) for part in ("omega", "beta", "low", "high")}
    save_file(vectors, tmp_path / "old", metadata={"otlab.maps": json.dumps(head)})
    old = Maps.load(tmp_path / "old")
    assert list(old) == ["layers.9", "layers.10"] and old.info == head["info"]
    assert old.tokens == "last" and old.first and old["layers.9"].high.tolist() == [9, 9]


def test_failure_files_that_hold_no_maps(tmp_path):
    some_maps(tiny()).save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for name, content in (("empty", b""), ("cut", whole[:-7]), ("text", b"omega and beta")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no whole safetensors file of maps"):
            Maps.load(tmp_path / name)
    head = {"info": {}, "tokens": "all", "first": False}
    save_file({"w": torch.ones(2)}, tmp_path / "other")
    save_arrays(tmp_path / "model", {".w": np.ones(2)}, {"layers": 4})
    save_arrays(tmp_path / "half", {"0|omega": np.ones(2)}, head)
    save_arrays(tmp_path / "more", {f"0|{p}": np.ones(2) for p in ("omega", "beta", "c")}, head)
    for name in ("other", "model", "half", "more"):
        with pytest.raises(ValueError, match=f"{name} holds no maps"):
            Maps.load(tmp_path / name)
    with pytest.raises(ValueError, match="meta must be what JSON can hold"):
        Maps(dict(some_maps(tiny())), {"tensor": torch.ones(2)}).save(tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == whole


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 4), st.floats(-3, 3)), min_size=1, max_size=6),
       st.floats(-1, 2), st.integers(0, 99))
def test_invariant_inverse_composition_and_folding(pairs, strength, seed):
    omega, beta = (torch.tensor(v, dtype=torch.float64) for v in zip(*pairs, strict=True))
    m, z = Affine(omega, beta), torch.from_numpy(np.random.default_rng(seed).normal(
        size=(5, len(pairs)))).float()
    torch.testing.assert_close(m.inverse()(m(z)), z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(m.then(m.inverse())(z), z, atol=1e-4, rtol=1e-4)
    other = Affine(1 / (1 + omega), beta + 1)
    torch.testing.assert_close(m.then(other)(z), other(m(z)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(m.folded(strength)(z), m(z, strength), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(m(z, strength), (1 - strength) * z + strength * m(z),
                               atol=1e-4, rtol=1e-4)


def test_oracle_folding_into_a_linear_layer_gives_the_same_logits():
    layer, m = torch.nn.Linear(6, 4), Affine(torch.rand(4) + 0.5, torch.randn(4)).folded(0.7)
    x = torch.randn(9, 6)
    folded = torch.nn.Linear(6, 4)
    folded.weight.data = m.omega[:, None] * layer.weight
    folded.bias.data = m.omega * layer.bias + m.beta
    torch.testing.assert_close(folded(x), m(layer(x)), atol=1e-5, rtol=1e-5)


def test_oracle_the_guard_moves_only_inside():
    m = Affine(torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([-1.0]), torch.tensor([1.0]))
    z = torch.tensor([[-2.0], [-0.5], [0.5], [1.5]])
    torch.testing.assert_close(m(z)[:, 0], torch.tensor([-2.0, 0.0, 2.0, 1.5]))
    undone = m.inverse()
    torch.testing.assert_close(undone(m(z))[1:3], z[1:3])


def test_oracle_pooling_leaves_padding_and_the_sink_out():
    z = torch.arange(12.0).reshape(1, 4, 3)
    positions = torch.tensor([[-1, 0, 1, 2]])
    torch.testing.assert_close(pool(z, positions), z[:, 2:].mean(1))
    torch.testing.assert_close(pool(z, positions, first=True), z[:, 1:].mean(1))
    torch.testing.assert_close(pool(z, positions, "max"), z[:, 3])
    torch.testing.assert_close(pool(z, positions, "last"), z[:, 3])
    lonely = torch.tensor([[-1, -1, -1, 0]])
    torch.testing.assert_close(pool(z, lonely), z[:, 3])


def test_oracle_activations_are_the_means_of_every_token():
    model = tiny()
    name = model.blocks[0]
    mean = activations(model, TEXTS, [name], batch=2)[name]
    each = activations(model, TEXTS, [name], pooling="none")[name]
    for row, tokens, text in zip(mean, each, TEXTS, strict=True):
        assert len(tokens) == len(encode(text))
        torch.testing.assert_close(row, tokens[1:].mean(0), atol=1e-5, rtol=1e-5)


def test_failure_sentences(tmp_path):
    model = tiny()
    with pytest.raises(ValueError, match=r"no module 'model.layer.1'; did you mean model.layers"):
        with hooked(model, {"model.layer.1": lambda z: None}):
            pass
    with pytest.raises(ValueError, match="finite number"), steer(model, Maps({}), float("nan")):
        pass
    with pytest.raises(ValueError, match="tokens must"):
        with steer(model, some_maps(model, tokens="some")):
            pass
    with pytest.raises(ValueError, match="vectors of one length"):
        Affine(torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="NaN"):
        Affine(torch.ones(1), torch.tensor([torch.nan]))
    with pytest.raises(ValueError, match="1 of 2 scales"):
        Affine(torch.tensor([1.0, -1.0]), torch.zeros(2)).inverse()
    with pytest.raises(ValueError, match="nest"):
        guarded = Affine(*torch.ones(4, 2))
        guarded.then(guarded)
    with pytest.raises(FileNotFoundError, match="no maps at"):
        Maps.load(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="no map to save"):
        Maps({}).save(tmp_path / "empty.safetensors")
    with pytest.raises(ValueError, match="pooling must"):
        activations(model, TEXTS, model.blocks, pooling="median")
