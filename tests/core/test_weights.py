"""Saved weights come back bit for bit, and a wrong file says what is wrong with it."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from otlab.core.weights import load_model, save_model
from otlab.learning.nets.mlp import Velocity


@pytest.fixture
def model(key):
    return Velocity(2, width=4, depth=2, key=key)


def same(a, b):
    arrays = zip(jax.tree.leaves(eqx.filter(a, eqx.is_array)),
                 jax.tree.leaves(eqx.filter(b, eqx.is_array)), strict=True)
    return all(x.dtype == y.dtype and bool((x == y).all()) for x, y in arrays)


def test_oracle_another_reader_finds_the_arrays_by_path(model, tmp_path):
    path = save_model(tmp_path / "deep" / "v.safetensors", model)
    arrays = load_file(path)
    np.testing.assert_array_equal(arrays[".mlp.layers[0].weight"], model.mlp.layers[0].weight)
    assert len(arrays) == 6
    assert [p.name for p in path.parent.iterdir()] == ["v.safetensors"]      # no left-overs


def test_invariant_save_and_load_is_the_identity(model, tmp_path):
    path = save_model(tmp_path / "v.safetensors", model, {"seed": 3, "scores": [0.5, 1e-9]})
    other = Velocity(2, width=4, depth=2, key=jax.random.key(9))
    assert not same(model, other)
    loaded, meta = load_model(path, other)
    assert same(model, loaded) and meta == {"seed": 3, "scores": [0.5, 1e-9]}
    np.testing.assert_array_equal(loaded(jnp.float32(0.5), jnp.ones(2)),
                                  model(jnp.float32(0.5), jnp.ones(2)))


def test_invariant_a_shape_only_model_is_enough(model, tmp_path):
    path = save_model(tmp_path / "v.safetensors", model)
    like = eqx.filter_eval_shape(lambda: Velocity(2, width=4, depth=2, key=jax.random.key(0)))
    assert same(load_model(path, like)[0], model)


def test_invariant_float32_weights_load_into_a_float64_model(model, tmp_path, float64):
    path = save_model(tmp_path / "v.safetensors", model)
    like = jax.tree.map(lambda a: a.astype(jnp.float64) if eqx.is_array(a) else a, model)
    assert load_model(path, like)[0].mlp.layers[0].weight.dtype == jnp.float64


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none(), st.booleans(),
                                            st.floats(allow_nan=False))))
def test_invariant_any_json_meta_survives(tmp_path_factory, meta):
    path = tmp_path_factory.getbasetemp() / "meta.safetensors"
    save_model(path, {"w": jnp.ones(1)}, meta)
    assert load_model(path, {"w": jnp.zeros(1)})[1] == json.loads(json.dumps(meta))


def test_failure_another_architecture_is_named(model, tmp_path, key):
    path = save_model(tmp_path / "v.safetensors", model, {"width": 4})
    with pytest.raises(ValueError, match=r"layers\[0\].weight of shape.*'width': 4"):
        load_model(path, Velocity(2, width=5, depth=2, key=key))
    with pytest.raises(ValueError, match=r"only `like` has .*layers\[3\]"):
        load_model(path, Velocity(2, width=4, depth=3, key=key))


def test_failure_no_file_and_no_safetensors_file(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="No weights"):
        load_model(tmp_path / "absent.safetensors", model)
    (tmp_path / "torn.safetensors").write_bytes(b"not a header")
    with pytest.raises(ValueError, match="no whole safetensors"):
        load_model(tmp_path / "torn.safetensors", model)


def test_failure_what_cannot_be_saved_and_the_old_file_stays(model, tmp_path):
    path = save_model(tmp_path / "v.safetensors", model, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_model(path, model, {"array": np.ones(2)})
    with pytest.raises(ValueError, match="PRNG key"):
        save_model(path, {"key": jax.random.key(0)})
    with pytest.raises(ValueError, match="no array"):
        save_model(path, {"n": 3})
    assert load_model(path, model)[1] == {"old": 1}


def test_a_single_number_comes_back_as_a_single_number(tmp_path):
    """numpy's ascontiguousarray makes a vector of it, which the model then refuses."""
    class Scaled(eqx.Module):
        scale: jax.Array

    path = tmp_path / "scaled.safetensors"
    save_model(path, Scaled(jnp.asarray(2.5)))
    loaded, _ = load_model(path, Scaled(jnp.asarray(0.0)))
    assert loaded.scale.shape == () and float(loaded.scale) == 2.5
