"""The U-Net's layers against XLA's own, its symmetries, its shapes, its refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.learning.nets.unet import Conv, GroupNorm, UNet, by_xla, fold, unfold


def awake(shape, key):
    """A U-Net whose last layer is no longer zero."""
    model = UNet(shape, (4, 8), key=key)
    weight = jax.random.normal(key, model.conv_out.weight.shape)
    return eqx.tree_at(lambda m: m.conv_out.weight, model, weight)


def test_oracle_conv_is_the_convolution_of_xla(key):
    conv = Conv(3, 4, key=key)
    x = jax.random.normal(key, (5, 7, 3))
    exact = jax.lax.conv_general_dilated(
        x[None], conv.weight.reshape(3, 3, 3, 4), (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"))[0] + conv.bias
    np.testing.assert_allclose(conv(x), exact, atol=1e-5)
    elsewhere = by_xla(x[None], conv.weight.reshape(3, 3, 3, 4))[0] + conv.bias
    np.testing.assert_allclose(elsewhere, exact, atol=1e-5)


@pytest.mark.parametrize("far", [3, -2_000])
def test_oracle_group_norm_in_numpy(far, key):
    """Also where the mean is a thousand times the spread, and with a further affine map."""
    x = far + 2 * np.asarray(jax.random.normal(key, (4, 6, 8)), float)
    groups = x.reshape(24, 4, 2)
    exact = (groups - groups.mean((0, 2), keepdims=True)) / np.sqrt(
        groups.var((0, 2), keepdims=True) + 1e-5)
    exact = exact.reshape(4, 6, 8)
    norm, x = GroupNorm(8, 4), jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(norm(x), exact, atol=1e-3)
    gain, shift = jnp.linspace(-1, 2, 8), jnp.linspace(3, 4, 8)
    np.testing.assert_allclose(norm(x, gain, shift), exact * gain + shift, atol=2e-3)


def test_gradient_of_the_norm_is_that_of_the_textbook_form(key):
    x, norm = 5 + jax.random.normal(key, (3, 4, 8)), GroupNorm(8, 4)

    def plain(x):
        z = x.reshape(12, 4, 2)
        z = (z - z.mean((0, 2), keepdims=True)) / jnp.sqrt(z.var((0, 2), keepdims=True) + 1e-5)
        return z.reshape(x.shape)

    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (norm, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_invariant_fold_keeps_squares_together():
    x = jnp.arange(32).reshape(4, 4, 2)
    folded = fold(x)
    np.testing.assert_array_equal(folded[0, 1], x[:2, 2:].reshape(-1))
    np.testing.assert_array_equal(unfold(folded), x)


@pytest.mark.parametrize("shape", [(7, 5), (14, 13)])
def test_invariant_images_keep_their_shape(shape, key):
    model = awake(shape, key)
    assert model.patch == (2 if max(shape) > 12 else 1)
    x = jax.random.normal(key, shape)
    rows = shape if max(shape) > 12 else (-1,)                          # one of them flat
    run = eqx.filter_jit(lambda model, t: model(t, x.reshape(rows)))
    early, late = run(model, jnp.float32(0.3)), run(model, jnp.float32(0.9))
    assert early.shape == x.reshape(rows).shape
    assert jnp.abs(late - early).max() > 1e-3                           # time is heard
    assert (jnp.abs(early) > 0).all()                                   # every pixel is served
    assert eqx.filter_eval_shape(model, jnp.float32(0), x).shape == shape


def test_gradient_of_a_new_model_moves_its_last_layer_and_an_awake_one_moves_everywhere(key):
    x = jax.random.normal(key, (4, 4))

    @eqx.filter_jit
    def run(model):
        return eqx.filter_value_and_grad(
            lambda m: jnp.sum((m(jnp.float32(0.4), x) - 1) ** 2))(model)

    model = awake((4, 4), key)
    grads = jax.tree.leaves(run(model)[1])
    assert min(float(jnp.abs(g).max()) for g in grads) > 0
    new = eqx.tree_at(lambda m: m.conv_out.weight, model, jnp.zeros_like(model.conv_out.weight))
    value, grads = run(new)
    assert value == 16                                     # v = 0 at every one of the pixels
    moved = [bool(g.any()) for g in jax.tree.leaves(grads)]
    assert sum(moved) == 2 and not UNet((4, 4), (4, 8), key=key).conv_out.weight.any()


def test_failure_sentences(key):
    with pytest.raises(ValueError, match="multiple of four"):
        UNet((8, 8), (4, 6), key=key)
    with pytest.raises(ValueError, match="sides of at least 4"):
        UNet((3, 8), key=key)
    with pytest.raises(ValueError, match="too small. Give fewer"):
        UNet((4, 4), (4, 4, 4, 4), key=key)
    with pytest.raises(ValueError, match="patch must be 1"):
        UNet((8, 8), (4, 8), patch=3, key=key)
    with pytest.raises(ValueError, match=r"\(8, 8\) or \(64,\); got \(5, 64\).*vmap"):
        awake((8, 8), key)(jnp.float32(0), jnp.ones((5, 64)))


@pytest.fixture(scope="module")
def coloured():
    """An awake colour U-Net of three labels, and its compiled call."""
    model = UNet((5, 6, 3), (4, 8), classes=3, blocks=2, key=jax.random.key(5))
    weight = jax.random.normal(jax.random.key(6), model.conv_out.weight.shape)
    model = eqx.tree_at(lambda m: m.conv_out.weight, model, weight)
    return model, eqx.filter_jit(lambda model, t, x, label: model(t, x, label))


def test_invariant_colours_keep_their_shape_and_hear_each_other(coloured):
    model, run = coloured
    x, t = jax.random.normal(jax.random.key(7), (5, 6, 3)), jnp.float32(0.4)
    v = run(model, t, x, jnp.asarray(0))
    assert v.shape == (5, 6, 3) and len({float(z) for z in v.reshape(-1)}) == 90
    bluer = run(model, t, x.at[2, 2, 2].add(1.0), jnp.asarray(0))
    assert jnp.abs(bluer - v)[..., 0].max() > 1e-4              # red hears blue
    flat = model(t, x.reshape(-1), jnp.asarray(0))
    np.testing.assert_allclose(flat, v.reshape(-1), rtol=1e-4, atol=1e-5)


def test_invariant_labels_are_heard_and_no_label_is_the_unlabelled_network(coloured):
    model, run = coloured
    x, t = jax.random.normal(jax.random.key(7), (5, 6, 3)), jnp.float32(0.4)
    values = [run(model, t, x, jnp.asarray(k)) for k in range(4)]
    for k in range(3):
        assert jnp.abs(values[k] - values[k + 1]).max() > 1e-3
    silent = eqx.tree_at(lambda m: m.label, model, jnp.zeros_like(model.label))
    np.testing.assert_allclose(run(silent, t, x, jnp.asarray(1)), values[3], rtol=1e-5, atol=1e-6)


def test_invariant_labels_change_no_other_first_weight(key):
    plain, labelled = UNet((4, 4), (4, 8), key=key), UNet((4, 4), (4, 8), classes=2, key=key)
    bare = eqx.tree_at(lambda m: m.label, labelled, None)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(bare), strict=True):
        np.testing.assert_array_equal(a, b)
    more = UNet((4, 4), (4, 8, 8), blocks=3, key=key)
    assert len(more.down) == len(more.up) == 6 and len(more.shrink) == 2


def test_failure_labels_and_colours_are_named(coloured, key):
    model, x = coloured[0], jnp.zeros((5, 6, 3))
    with pytest.raises(ValueError, match="classes=3 wants a label from 0 to 3"):
        model(jnp.float32(0), x)
    with pytest.raises(ValueError, match=r"wants v\(t, x\)"):
        awake((4, 4), key)(jnp.float32(0), jnp.zeros((4, 4)), jnp.asarray(1))
    with pytest.raises(ValueError, match=r"\(5, 6, 3\) or \(90,\); got \(5, 6\)"):
        model(jnp.float32(0), x[..., 0], jnp.asarray(1))
    with pytest.raises(ValueError, match=r"\(h, w\) or \(h, w, c\)"):
        UNet((8, 8, 3, 1), (4, 8), key=key)
    with pytest.raises(ValueError, match="blocks"):
        UNet((8, 8), (4, 8), blocks=0, key=key)
