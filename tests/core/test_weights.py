"""Saved weights come back bit for bit, and a wrong file says what is wrong with it."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from otlab.core.weights import KEY, load_arrays, load_model, save_arrays, save_model
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
    turned = save_model(tmp_path / "turned.safetensors", {"w": jnp.ones((2, 3))})
    with pytest.raises(ValueError, match=r"of shape \(2, 3\) where `like` has \(3, 2\)"):
        load_model(turned, {"w": jnp.zeros((3, 2))})             # as many numbers, another matrix


def test_failure_no_file_and_no_safetensors_file(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at"):
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


@pytest.mark.parametrize("name", ["w.safetensors", "w", "w.2", ".hidden", "two words.npz"])
def test_invariant_a_file_has_the_name_that_it_was_given(tmp_path, name):
    arrays = {"b": np.arange(6.0).reshape(2, 3).T, "a": np.ones((), np.int16), "": np.zeros((0, 3))}
    path = save_arrays(tmp_path / name, arrays, {"n": 1})
    assert [p.name for p in tmp_path.iterdir()] == [name] and path.name == name
    found, meta = load_arrays(tmp_path / name)
    assert meta == {"n": 1} and found.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)     # a transposed array, too
        assert found[key].dtype == array.dtype and found[key].shape == array.shape


def test_invariant_half_precision_comes_back(tmp_path):
    arrays = {"w": jnp.asarray([1.5, -2.0], jnp.bfloat16)}
    loaded, _ = load_model(save_model(tmp_path / "w", arrays), {"w": jnp.zeros(2, jnp.bfloat16)})
    assert loaded["w"].dtype == jnp.bfloat16 and loaded["w"].tolist() == [1.5, -2.0]


def test_oracle_numbers_of_numpy_are_written_as_numbers(tmp_path):
    meta = {"seed": np.int64(3), "rate": np.float32(0.5), "on": np.bool_(True),
            "deep": {"list": [np.float64(1e-9), (np.uint8(2),)]}}
    path = save_arrays(tmp_path / "w", {"w": np.ones(1)}, meta)
    assert load_arrays(path)[1] == {"seed": 3, "rate": 0.5, "on": True,
                                    "deep": {"list": [1e-9, [2]]}}


@pytest.mark.parametrize("cut", [0, 5, 9, 0.5, -1])
def test_failure_an_empty_or_cut_file(tmp_path, cut):
    whole = save_arrays(tmp_path / "w", {"w": np.ones(40)}, {"seed": 1}).read_bytes()
    size = round(cut * len(whole)) if isinstance(cut, float) else cut
    (tmp_path / "cut").write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r"cut is no whole safetensors file of maps .*save it"):
        load_arrays(tmp_path / "cut", what="maps")


def test_failure_foreign_files(tmp_path):
    for name, metadata in (("text", {KEY: "no json"}), ("list", {KEY: "[1]"})):
        save_file({"w": np.ones(2)}, tmp_path / name, metadata=metadata)
        with pytest.raises(ValueError, match=f"{name} is no whole safetensors file of weights"):
            load_arrays(tmp_path / name)
    np.save(tmp_path / "array.npy", np.ones(2))
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_arrays(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_arrays(tmp_path)                                # a folder
    save_file({"w": np.ones(2)}, tmp_path / "other", metadata={"author": "somebody"})
    assert load_arrays(tmp_path / "other")[1] == {}


def test_invariant_metadata_under_a_former_key_are_found(tmp_path):
    save_file({"w": np.ones(2)}, tmp_path / "old", metadata={"otlab.once": '{"seed": 4}'})
    assert load_arrays(tmp_path / "old", former_key="otlab.once")[1] == {"seed": 4}
    assert load_arrays(tmp_path / "old")[1] == {}


def test_failure_arrays_that_are_no_numbers_leave_the_old_file(tmp_path):
    path = save_arrays(tmp_path / "w", {"w": np.ones(1)}, {"old": 1})
    with pytest.raises(ValueError, match="cannot hold these arrays"):
        save_arrays(path, {"w": np.array(["a", "b"])})
    assert load_arrays(path)[1] == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
