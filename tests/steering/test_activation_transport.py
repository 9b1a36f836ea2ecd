"""The affine transport of columns, and its estimation through a network in one pass."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from residual_toy import Toy
from tiny_models import tiny

from otlab.language.hooks import activations
from otlab.steering.activation_transport import fit, fit_columns, matched_quantiles
from otlab.steering.maps import steer

SOURCE = ["a cat", "the old house.", "in the rain we walk", "so be it"]
TARGET = ["goals, goals", "we won the match", "a kick", "the cup is ours today."]


def normal(seed, n, mean=0.0, scale=1.0, d=3):
    return mean + scale * torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def test_oracle_linear_is_least_squares_on_sorted_columns():
    a, b = normal(0, 200, 1.0), normal(1, 200, -1.0, 3.0)
    m = fit_columns(a, b)
    for k in range(3):
        slope, offset = np.polyfit(np.sort(a[:, k]), np.sort(b[:, k]), 1)
        assert float(m.omega[k]) == pytest.approx(slope, rel=1e-5)
        assert float(m.beta[k]) == pytest.approx(offset, rel=1e-4)


def test_oracle_the_printed_denominator_is_wrong():
    a, b = normal(0, 4_000, 1.0, d=1), normal(1, 4_000, -1.0, 3.0, d=1)
    assert float(fit_columns(a, b).omega[0]) == pytest.approx(3.0, abs=0.1)
    sorted_a, sorted_b = (z.sort(0).values - z.mean(0) for z in (a, b))
    printed = float((sorted_a * sorted_b).sum() / sorted_b.square().sum())
    assert printed == pytest.approx(1 / 3, abs=0.02)


def test_oracle_gaussian_and_mean():
    a, b = normal(0, 500, 1.0), normal(1, 700, -1.0, 3.0)
    m = fit_columns(a, b, method="gaussian")
    torch.testing.assert_close(m.omega.double(), b.std(0) / a.std(0), atol=1e-5, rtol=1e-5)
    m = fit_columns(a, b, method="mean")
    assert bool((m.omega == 1).all())
    torch.testing.assert_close(m.beta.double(), b.mean(0) - a.mean(0), atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.2, 4), st.floats(-3, 3),
       st.integers(0, 99))
def test_invariant_the_map_is_monotone_and_keeps_the_mean(n, m, scale, shift, seed):
    a, b = normal(seed, n), normal(seed + 100, m, shift, scale)
    for method in ("linear", "gaussian", "mean"):
        t = fit_columns(a, b, method=method)
        assert bool((t.omega >= 0).all())
        torch.testing.assert_close(t(a.float()).mean(0), b.float().mean(0), atol=1e-3, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 5), st.floats(-4, 4), st.integers(0, 99))
def test_invariant_an_affine_image_is_met_exactly(scale, shift, seed):
    a = normal(seed, 30)
    t = fit_columns(a, (scale * a + shift)[torch.randperm(30)])
    torch.testing.assert_close(t.omega, torch.full((3,), scale), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(t.beta, torch.full((3,), shift), atol=1e-3, rtol=1e-3)


def test_oracle_distance_shrinks_as_the_strength_grows():
    a, b = normal(0, 5_000, d=1), normal(1, 5_000, 2.0, 3.0, d=1)
    t = fit_columns(a, b)

    def w2(x):
        return ot.wasserstein_1d(x.double().numpy()[:, 0], b.numpy()[:, 0], p=2) ** 0.5

    whole = w2(a)
    for strength in (0.25, 0.5, 0.75):
        assert w2(t(a.float(), strength)) == pytest.approx((1 - strength) * whole, rel=0.08)


def test_invariant_quantiles_of_unequal_samples():
    a, b = normal(0, 5), normal(1, 9)
    sorted_a, sorted_b = matched_quantiles(a, b)
    assert sorted_a.shape == sorted_b.shape == (9, 3)
    assert bool((sorted_a.diff(dim=0) >= 0).all())
    torch.testing.assert_close(sorted_b, b.sort(0).values)
    torch.testing.assert_close(sorted_a[0], a.min(0).values)


def test_invariant_a_constant_neuron_is_only_shifted():
    a = torch.ones(6, 1)
    t = fit_columns(a, normal(0, 6, d=1), support=(0, 1))
    assert float(t.omega[0]) == 1 and t.low is not None


def test_oracle_one_pass_equals_fitting_layer_by_layer():
    model = tiny()
    names = model.blocks[1:]
    maps = fit(model, SOURCE, TARGET, names)
    target = activations(model, TARGET, names)
    done = fit(model, SOURCE, TARGET, names[:1])
    for k, name in enumerate(names):
        with steer(model, done.only(names[:k])):
            source = activations(model, SOURCE, [name])[name]
        expected = fit_columns(source, target[name])
        torch.testing.assert_close(maps[name].omega, expected.omega, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(maps[name].beta, expected.beta, atol=1e-4, rtol=1e-4)
        done = maps


def test_oracle_independent_fits_see_the_plain_network():
    model = tiny()
    maps = fit(model, SOURCE, TARGET, model.blocks, order="independent")
    a, b = (activations(model, texts, model.blocks) for texts in (SOURCE, TARGET))
    for name in model.blocks:
        expected = fit_columns(a[name], b[name])
        torch.testing.assert_close(maps[name].beta, expected.beta, atol=1e-4, rtol=1e-4)


def test_invariant_order_matters_after_the_first_module_only():
    model = tiny()
    fits = {order: fit(model, SOURCE, TARGET, model.blocks, order=order)
            for order in ("source", "both", "independent")}
    first, second = model.blocks[:2]
    for order in ("both", "independent"):
        torch.testing.assert_close(fits["source"][first].beta, fits[order][first].beta)
        assert not torch.allclose(fits["source"][second].beta, fits[order][second].beta)


def test_invariant_the_toy_arrives_at_the_target_layer_by_layer():
    toy = Toy()
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(64, 8, generator=draw), 1.5 * torch.randn(64, 8, generator=draw) + 1
    maps = fit(toy, list(x), list(y), toy.blocks)
    plain, aim = (activations(toy, list(z), toy.blocks) for z in (x, y))
    with steer(toy, maps):
        moved = activations(toy, list(x), toy.blocks)
    for name in toy.blocks:
        before, after = (ot.wasserstein_1d(z[name].numpy(), aim[name].numpy(), p=2).mean()
                         for z in (plain, moved))
        assert after < 0.2 * before


def test_failure_sentences():
    model = tiny()
    for bad, words in [((torch.ones(1, 2), torch.ones(3, 2)), "at least two each"),
                       ((torch.ones(3, 2), torch.ones(3, 4)), "samples a"),
                       ((torch.full((3, 2), torch.nan), torch.ones(3, 2)), "NaN")]:
        with pytest.raises(ValueError, match=words):
            fit_columns(*bad)
    with pytest.raises(ValueError, match="method must"):
        fit_columns(torch.ones(3, 2), torch.ones(3, 2), method="quadratic")
    with pytest.raises(ValueError, match="support wants"):
        fit_columns(torch.ones(3, 2), torch.ones(3, 2), support=(0.9, 0.1))
    with pytest.raises(ValueError, match="order must"):
        fit(model, SOURCE, TARGET, model.blocks, order="reverse")
    with pytest.raises(ValueError, match="two texts a side"):
        fit(model, SOURCE[:1], TARGET, model.blocks)
