"""The transformer is what NumPy says, sees what its mask shows, and counts what it keeps."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from otlab.learning.nets.attention import attend, causal_mask, full_mask, prefix_mask
from otlab.learning.nets.transformer import Layer, Norm, transformer

T, WIDTH = 7, 12
MASKS = {"causal": causal_mask(T), "prefix": prefix_mask(3, T), "full": full_mask(T)}
# name -> settings of a layer; each paper's own, and one where every setting is another
KINDS = {
    "plain": dict(heads=3),
    "flow": dict(heads=3, affine=False, write_scale=0.3),
    "aim": dict(heads=2, bias=False),
    "aim v2": dict(heads=2, norm="rms", feed="swiglu", bias=False),
    "transfer": dict(heads=3, head_size=2, norm="rms", qk_norm=True, logit_scale=1 / 2,
                     depth_multiplier=0.25),
    "odd": dict(heads=2, head_size=5, hidden=7, feed="swiglu", activation=jnp.tanh, qk_norm=True,
                affine=False, scale=2.0, depth_multiplier=1.5),
    "mlp": dict(heads=0),
}


def stirred(net, key, scale=0.3):
    """The net with noise on every weight, so that zeros and ones hide nothing."""
    leaves, tree = jax.tree.flatten(eqx.filter(net, eqx.is_array))
    keys = jax.random.split(key, len(leaves))
    moved = [a + scale * jax.random.normal(k, a.shape, a.dtype)
             for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), net)


def build(kind, layers=2, **more):
    settings = {**KINDS[kind], **more}
    return stirred(transformer(WIDTH, layers, key=jax.random.key(1), **settings),
                   jax.random.key(2))


@eqx.filter_jit
def run(net, x, mask):
    """net(x, mask), compiled once for every kind of net."""
    return net(x, mask)


def tokens(seed=3, *shape):
    return jax.random.normal(jax.random.key(seed), (*shape, T, WIDTH))


# The oracle: NumPy, float64, query by query and head by head.

def np_norm(norm, x):
    if norm is None:
        return x
    if norm.kind == "layer":
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    x = x if norm.gain is None else x * np.float64(norm.gain)
    return x if norm.shift is None else x + np.float64(norm.shift)


def np_dense(dense, x):
    return x @ np.float64(dense.weight) + (0 if dense.bias is None else np.float64(dense.bias))


def np_gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def np_attend(q, k, v, mask, scale):
    out = np.zeros((len(q), *v.shape[1:]))
    for i in range(len(q)):
        for h in range(q.shape[1]):
            seen = np.flatnonzero(mask[i])
            logits = np.array([scale * q[i, h] @ k[j, h] for j in seen])
            weights = np.exp(logits - logits.max())
            out[i, h] = (weights / weights.sum()) @ v[seen, h]
    return out


def np_layer(layer, x, mask, kind):
    m = kind.get("depth_multiplier", 1.0)
    if kind["heads"]:
        read = np_dense(layer.read, np_norm(layer.norm_read, x))
        q, k, v = np.moveaxis(read.reshape(len(x), 3, kind["heads"], -1), 1, 0)
        scale = kind.get("logit_scale", 1 / math.sqrt(q.shape[-1]))
        seen = np_attend(np_norm(layer.query_norm, q), np_norm(layer.key_norm, k), v, mask, scale)
        x = x + m * np_dense(layer.write, seen.reshape(len(x), -1))
    z = np_norm(layer.norm_feed, x)
    if kind.get("feed") == "swiglu":
        gate = np_dense(layer.gate, z)
        gate = np.tanh(gate) if "activation" in kind else gate / (1 + np.exp(-gate))
        return x + m * np_dense(layer.down, gate * np_dense(layer.up, z))
    return x + m * np_dense(layer.down, np_gelu(np_dense(layer.up, z)))


def np_transformer(net, x, mask, kind):
    x = np.asarray(x, np.float64)
    for layer in net.layers:
        x = np_layer(layer, x, np.asarray(mask), kind)
    return net.width_multiplier * np_norm(net.norm, x)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_oracle_numpy(kind, mask):
    net, x = build(kind, width_multiplier=0.5), tokens()
    want = np_transformer(net, x, MASKS[mask], KINDS[kind])
    np.testing.assert_allclose(run(net, x, MASKS[mask]), want, atol=3e-5)


@pytest.mark.parametrize("kind", ["plain", "odd"])
def test_oracle_numpy_in_float64(kind, float64):
    net, x = build(kind), tokens()
    got = run(net, x, MASKS["causal"])
    assert x.dtype == got.dtype == jnp.float64
    want = np_transformer(net, x, MASKS["causal"], KINDS[kind])
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("mask", MASKS)
def test_oracle_attention_of_torch(mask, scale, key):
    torch = pytest.importorskip("torch")
    q, k, v = 2 * jax.random.normal(key, (3, T, 2, 5))
    # torch wants heads first; its Boolean mask too is True where the query sees the key.
    given = [torch.from_numpy(np.array(z)).movedim(1, 0) for z in (q, k, v)]
    want = torch.nn.functional.scaled_dot_product_attention(
        *given, attn_mask=torch.from_numpy(np.array(MASKS[mask])), scale=scale)
    np.testing.assert_allclose(attend(q, k, v, MASKS[mask], scale), want.movedim(0, 1), atol=1e-5)


def exact_gelu(x):
    return jax.nn.gelu(x, approximate=False)


@pytest.mark.parametrize("mask", MASKS)
def test_oracle_layer_of_torch(mask):
    torch = pytest.importorskip("torch")
    layer = stirred(Layer(WIDTH, 3, activation=exact_gelu, key=jax.random.key(1)),
                    jax.random.key(2))
    peer = torch.nn.TransformerEncoderLayer(WIDTH, 3, 4 * WIDTH, dropout=0.0, norm_first=True,
                                            activation="gelu", batch_first=True)
    names = {"norm1": layer.norm_read, "self_attn.in_proj_": layer.read,
             "self_attn.out_proj.": layer.write, "norm2": layer.norm_feed, "linear1": layer.up,
             "linear2": layer.down}
    weights = {}
    for name, part in names.items():
        dot = "" if name[-1] in "._" else "."
        matrix, vector = ((part.gain, part.shift) if isinstance(part, Norm)
                          else (part.weight.T, part.bias))
        weights[f"{name}{dot}weight"] = torch.from_numpy(np.array(matrix))
        weights[f"{name}{dot}bias"] = torch.from_numpy(np.array(vector))
    peer.load_state_dict(weights, strict=True)
    hidden = torch.from_numpy(~np.array(MASKS[mask]))     # here True means hidden
    with torch.no_grad():
        want = peer(torch.from_numpy(np.array(tokens())[None]), src_mask=hidden)[0]
    np.testing.assert_allclose(run(layer, tokens(), MASKS[mask]), want, atol=3e-5)


def test_oracle_masks():
    i, j = np.arange(T)[:, None], np.arange(T)
    np.testing.assert_array_equal(causal_mask(T), j <= i)
    assert np.asarray(full_mask(T)).all()
    for prefix in range(T + 1):
        np.testing.assert_array_equal(prefix_mask(prefix, T), (j <= i) | (j < prefix))
    np.testing.assert_array_equal(prefix_mask(1, T), causal_mask(T))
    np.testing.assert_array_equal(prefix_mask(T, T), full_mask(T))
    of_many = jax.vmap(lambda prefix: prefix_mask(prefix, T))(jnp.arange(T + 1))
    rows = jnp.array([2, 5])
    for prefix, mask in enumerate(of_many):
        np.testing.assert_array_equal(mask, prefix_mask(prefix, T))
        np.testing.assert_array_equal(prefix_mask(prefix, T, rows), mask[rows])
    np.testing.assert_array_equal(causal_mask(T, rows), causal_mask(T)[rows])
    assert full_mask(T, rows).shape == (2, T)


@pytest.mark.parametrize("kind", ["plain", "transfer"])
@pytest.mark.parametrize("mask", MASKS)
def test_invariant_a_token_reads_what_its_mask_shows_and_nothing_else(mask, kind):
    net = build(kind)
    slope = np.asarray(jax.jacfwd(lambda x: run(net, x, MASKS[mask]))(tokens()))
    reads = np.abs(slope).max((1, 3))                    # (T, T)
    assert not reads[~np.asarray(MASKS[mask])].any()     # exactly none
    assert reads[np.asarray(MASKS[mask])].min() > 1e-4


def test_invariant_later_tokens_do_not_change_earlier_outputs():
    net, x = build("plain"), tokens()
    other = x.at[4:].set(tokens(5)[4:])
    for name in ("causal", "prefix"):
        got, want = run(net, other, MASKS[name]), run(net, x, MASKS[name])
        np.testing.assert_array_equal(got[:4], want[:4])
        assert np.abs(got[4:] - want[4:]).max() > 0.01
    got, want = run(net, other, MASKS["full"]), run(net, x, MASKS["full"])
    assert np.abs(got - want)[:4].max() > 0.01


def test_invariant_one_prefix_a_sequence():
    net, x, prefixes = build("aim"), tokens(3, 4), jnp.array([0, 2, 3, T])
    got = jax.jit(jax.vmap(lambda x, S: net(x, prefix_mask(S, T))))(x, prefixes)
    for z, row, S in zip(got, x, prefixes.tolist(), strict=True):
        np.testing.assert_allclose(z, run(net, row, prefix_mask(S, T)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_invariant_stacked_layers_are_a_list_of_them(kind):
    net, x = build(kind), tokens()
    deep = eqx.tree_at(lambda n: n.layers, net, jax.tree.map(lambda *a: jnp.stack(a), *net.layers))
    fresh = transformer(WIDTH, 2, **KINDS[kind], stacked=True, key=jax.random.key(1))
    flat = transformer(WIDTH, 2, **KINDS[kind], key=jax.random.key(1))
    np.testing.assert_array_equal(fresh.layers.up.weight[1], flat.layers[1].up.weight)
    assert jax.tree.structure(fresh) == jax.tree.structure(deep)
    got, want = (run(n, x, MASKS["prefix"]) for n in (deep, net))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_invariant_hidden_is_what_each_layer_leaves():
    net, x = build("aim v2", layers=3), tokens()
    hidden = net.hidden(x, MASKS["full"])
    assert hidden.shape == (3, T, WIDTH)
    np.testing.assert_allclose(hidden[0], net.layers[0](x, MASKS["full"]), atol=1e-6)
    np.testing.assert_allclose(net.norm(hidden[2]), net(x, MASKS["full"]), atol=1e-6)
    deep = eqx.tree_at(lambda n: n.layers, net, jax.tree.map(lambda *a: jnp.stack(a), *net.layers))
    np.testing.assert_allclose(deep.hidden(x, MASKS["full"]), hidden, atol=1e-5)


@pytest.mark.parametrize(("kind", "stacked"), [*((kind, False) for kind in KINDS), ("odd", True)])
def test_oracle_cached_decoding_is_the_full_pass(kind, stacked):
    """A prefix at once, then token after token, in a cache with room to spare."""
    net, x = build(kind, width_multiplier=0.5), tokens()
    if stacked:
        net = eqx.tree_at(lambda n: n.layers, net,
                          jax.tree.map(lambda *a: jnp.stack(a), *net.layers))
    cache = net.cache(T + 2)

    @jax.jit
    def extend(cache, at, some):
        queries = at + jnp.arange(len(some))
        return net.extend(cache, at, some, prefix_mask(3, T + 2, queries))

    first, cache = extend(cache, 0, x[:3])
    outputs = [first]
    for i in range(3, T):
        out, cache = extend(cache, jnp.asarray(i), x[i:i + 1])
        outputs.append(out)
    np.testing.assert_allclose(jnp.concatenate(outputs), run(net, x, MASKS["prefix"]), atol=2e-5)


def test_invariant_places_not_filled_are_not_seen():
    net, x = build("plain"), tokens()
    dirty = jax.tree.map(lambda a: a + jnp.nan, net.cache(T))
    clean, _ = net.extend(net.cache(T), 0, x[:2], full_mask(T, range(2)))
    np.testing.assert_allclose(clean, net(x[:2], full_mask(2)), atol=1e-5)
    # Zero weights times NaN are NaN: here the values themselves would tell.
    big = jax.tree.map(lambda a: jnp.nan_to_num(a, nan=1e6), dirty)
    np.testing.assert_array_equal(net.extend(big, 0, x[:2], full_mask(T, range(2)))[0], clean)


@pytest.mark.parametrize("kind", ["plain", "transfer", "odd"])
def test_gradient_is_that_of_finite_differences(kind, float64):
    net, x = build(kind, layers=1), tokens()
    arrays, static = eqx.partition(net, eqx.is_inexact_array)
    outputs = jax.jit(lambda arrays, x: eqx.combine(arrays, static)(x, MASKS["prefix"]))
    check_grads(outputs, (arrays, x), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_gradient_through_the_cache(float64):
    """What a token makes of the ones before it does not depend on how those were kept."""
    net, x = build("plain", layers=1), tokens()

    @jax.jit
    @jax.grad
    def of_cached(x):
        _, cache = net.extend(net.cache(T, x.dtype), 0, x[:4], causal_mask(T, jnp.arange(4)))
        return net.extend(cache, 4, x[4:5], causal_mask(T, jnp.array([4])))[0].sum()

    want = jax.jit(jax.grad(lambda x: net(x, MASKS["causal"])[4].sum()))(x)
    np.testing.assert_allclose(of_cached(x), want, atol=1e-12)
    assert np.abs(want[:4]).max(1).min() > 1e-4


def test_bfloat16_tokens_have_a_float32_softmax(key):
    q, k, v = (4 * jax.random.normal(key, (3, 64, 2, 16))).astype(jnp.bfloat16)
    mask = causal_mask(64)
    got = attend(q, k, v, mask)
    assert got.dtype == jnp.bfloat16
    want = np_attend(*(np.asarray(z, np.float64) for z in (q, k, v)), np.asarray(mask), 0.25)
    error = np.abs(np.asarray(got, np.float64) - want).max()

    def all_in_bfloat16():
        logits = jnp.einsum("thc,shc->hts", q, k) / jnp.sqrt(jnp.bfloat16(16))
        weights = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
        return jnp.einsum("hts,shc->thc", weights, v)

    rough = np.abs(np.asarray(all_in_bfloat16(), np.float64) - want).max()
    assert error < 0.5 * rough
    program = str(jax.make_jaxpr(lambda q, k, v: attend(q, k, v, mask))(q, k, v))
    powers = [line for line in program.splitlines() if " exp " in line]
    assert powers and all(":f32[" in line for line in powers)


@pytest.mark.parametrize("kind", ["transfer", "odd"])
def test_bfloat16_tokens_through_float32_weights(kind):
    net, x = build(kind, layers=1), tokens().astype(jnp.bfloat16)

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def slope(net, x):
        y = net(x, MASKS["causal"])
        return y.astype(jnp.float32).sum(), y

    grads, y = slope(net, x)
    assert y.dtype == jnp.bfloat16
    want = np.asarray(slope(net, x.astype(jnp.float32))[1])
    assert np.abs(np.asarray(y, np.float32) - want).max() < 0.04 * np.abs(want).max()
    assert all(g.dtype == jnp.float32 and np.isfinite(g).all() for g in jax.tree.leaves(grads))


def count(tree):
    return sum(a.size for a in jax.tree.leaves(eqx.filter(tree, eqx.is_array)))


def formula(width, heads, head_size=None, hidden=None, norm="layer", affine=True, feed="mlp",
            qk_norm=False, bias=True, **_):
    """Parameters of a layer by the docstring of `Layer`."""
    c = head_size or (width // heads if heads else 0)
    n, gated = heads * c, feed == "swiglu"
    h = hidden or (math.ceil(8 * width / 3) if gated else 4 * width)
    norms = 2 if heads else 1
    total = 4 * n * width + (3 if gated else 2) * h * width
    total += bias * ((3 * n + width if heads else 0) + h * (2 if gated else 1) + width)
    total += affine * norms * width * (2 if bias and norm == "layer" else 1)
    return total + (2 * c if qk_norm and affine else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_the_formula(kind):
    layer = Layer(WIDTH, **KINDS[kind], key=jax.random.key(0))
    assert count(layer) == formula(WIDTH, **KINDS[kind])
    assert count(Layer(WIDTH, 4, key=jax.random.key(0))) == 12 * WIDTH**2 + 13 * WIDTH


def test_a_cache_holds_two_numbers_a_head_size_layer_and_token():
    net = build("transfer", layers=3)
    assert count(net.cache(50)) == 3 * 50 * 2 * (3 * 2)
    assert all(a.dtype == jnp.bfloat16 for a in jax.tree.leaves(net.cache(5, jnp.bfloat16)))


@pytest.mark.parametrize(("length", "width", "heads"), [(16, 64, 4), (128, 16, 8), (64, 64, 2)])
def test_what_the_gradient_keeps_is_that_of_the_formula(length, width, heads):
    layer = Layer(width, heads, key=jax.random.key(0))
    params, static = eqx.partition(layer, eqx.is_inexact_array)

    def outputs(params, x):
        return eqx.combine(params, static)(x, causal_mask(length))

    def kept(outputs):
        """Numbers that the pullback holds, but for the weights."""
        shapes = jax.eval_shape(lambda params, x: jax.vjp(outputs, params, x)[1], params,
                                jnp.zeros((length, width)))
        return sum(math.prod(a.shape) for a in jax.tree.leaves(shapes)
                   if a.dtype == jnp.float32) - count(layer)

    want = 36 * length * width + 3 * heads * length**2
    assert 0.9 * want < kept(outputs) < 1.1 * want
    last_bias = width                                     # which no gradient needs
    assert kept(eqx.filter_checkpoint(outputs)) == length * width - last_bias


def test_matrices_begin_at_their_scale(key):
    layer = Layer(256, 4, scale=2.0, write_scale=0.5, feed="swiglu", key=key)
    fan_in = {"read": 256, "write": 256, "up": 256, "gate": 256, "down": 683}
    for name, size in fan_in.items():
        dense = getattr(layer, name)
        want = (1.0 if name in ("write", "down") else 2.0) / math.sqrt(size)
        assert float(dense.weight.std()) == pytest.approx(want, rel=0.02), name
        assert not np.asarray(dense.bias).any()
    draws = [np.asarray(getattr(layer, n).weight).ravel()[:100] for n in fan_in]
    assert np.abs(np.corrcoef(draws) - np.eye(5)).max() < 0.5


def test_multipliers_are_no_weights():
    """A step of training, a copy and an average leave them as they are."""
    net = build("transfer", width_multiplier=0.5)
    half = jax.tree.map(lambda a: a / 2 if eqx.is_inexact_array(a) else a, net)
    assert half.width_multiplier == 0.5
    assert [layer.depth_multiplier for layer in half.layers] == [0.25, 0.25]
    assert [layer.logit_scale for layer in half.layers] == [0.5, 0.5]


def test_invariant_depth_multiplier_scales_what_a_layer_adds():
    one, x = build("plain", layers=1), tokens()
    layer = one.layers[0]
    gentle = build("plain", layers=1, depth_multiplier=1e-3).layers[0]
    np.testing.assert_array_equal(gentle.read.weight, layer.read.weight)
    added = np.asarray(layer(x, MASKS["causal"]) - x)
    little = np.asarray(gentle(x, MASKS["causal"]) - x)
    assert 1e-4 < np.abs(little).max() / np.abs(added).max() < 5e-3
    np.testing.assert_array_equal(
        np.asarray(build("plain", layers=1, width_multiplier=0.25)(x, MASKS["full"])) * 4,
        one(x, MASKS["full"]))


def test_invariant_norms(key):
    x = 3 + 5 * jax.random.normal(key, (4, 64))
    z = np.asarray(Norm("layer")(x))
    np.testing.assert_allclose(z.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose((z**2).mean(1), 1, atol=1e-4)
    z = np.asarray(Norm("rms")(x))
    np.testing.assert_allclose((z**2).mean(1), 1, atol=1e-4)
    np.testing.assert_allclose(z, x / np.sqrt(np.square(x).mean(1, keepdims=True)), atol=1e-4)
    assert np.abs(z.mean(1)).min() > 0.1


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_invariant_norms_of_bfloat16_round_once_at_the_end(kind, key):
    x = (3 + jax.random.normal(key, (4, 64))).astype(jnp.bfloat16)
    want = Norm(kind)(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(Norm(kind)(x), want)


def sentence(match):
    return pytest.raises(ValueError, match=match)


def test_failure_sizes_and_settings(key):
    for settings, match in (
        (dict(width=0, heads=1), "width must be a whole number of at least 1; got 0"),
        (dict(width=6, heads=-1), "heads must be a whole number of at least 0; got -1"),
        (dict(width=6, heads=4), "width must be a multiple of heads, unless head_size.*6 and 4"),
        (dict(width=6, heads=4, head_size=0), "head_size must be a whole number.*got 0"),
        (dict(width=6, heads=2, hidden=0), "hidden must be a whole number.*got 0"),
        (dict(width=6, heads=2, norm="batch"), "norm must be 'layer' or 'rms'; got 'batch'"),
        (dict(width=6, heads=2, feed="moe"), "feed must be 'mlp' or 'swiglu'; got 'moe'"),
        (dict(width=6, heads=2, logit_scale=math.nan), "logit_scale must be a finite number"),
        (dict(width=6, heads=2, depth_multiplier=math.inf), "depth_multiplier must be a finite"),
        (dict(width=6, heads=2, write_scale=math.inf), "write_scale must be a finite"),
    ):
        with sentence(match):
            Layer(**settings, key=key)
    with sentence("layers must be a whole number of at least 1; got 0"):
        transformer(6, 0, 2, key=key)
    with sentence("width_multiplier must be a finite number"):
        transformer(6, 1, 2, width_multiplier=math.nan, key=key)
    with pytest.raises(TypeError, match="dropout"):
        transformer(6, 1, 2, dropout=0.1, key=key)
    with sentence("prefix must be between 0 and the length, 7; got 8"):
        prefix_mask(8, T)


def test_failure_tokens_and_masks():
    net, x = build("plain"), tokens()
    with sentence(r"x must be one sequence \(T, 12\).*shape \(2, 7, 12\).*jax.vmap"):
        net(tokens(0, 2), MASKS["causal"])
    with sentence("floating-point tokens; got int32"):
        net(jnp.ones((T, WIDTH), jnp.int32), MASKS["causal"])
    with sentence(r"mask must be Boolean, \(7, 7\), True where.*got None.*causal_mask"):
        net(x)
    with sentence(r"mask must be Boolean.*got float32 of shape \(7, 7\)"):
        net(x, jnp.zeros((T, T)))
    with sentence(r"mask must be Boolean, \(7, 7\).*got bool of shape \(6, 6\)"):
        net(x, causal_mask(6))
    with sentence("mask shows query 3 no key"):
        net(x, MASKS["causal"].at[3].set(False))
    blind = run(net, x, MASKS["causal"].at[3].set(False))
    assert np.isnan(blind[3]).all()                       # under a trace: seen, not hidden


def test_failure_cache():
    net, x = build("plain"), tokens()
    with sentence("length must be a whole number of at least 1; got 0"):
        net.cache(0)
    with sentence("at, the place of the first of 2 tokens, must leave room in a cache of 7; got 6"):
        net.extend(net.cache(T), 6, x[:2], causal_mask(T, jnp.arange(2)))
    with sentence(r"mask must be Boolean, \(2, 7\)"):
        net.extend(net.cache(T), 0, x[:2], causal_mask(2))
