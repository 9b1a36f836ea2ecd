"""Causal conditioners read what comes before and nothing else, at once or one by one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.flows.causal import CausalMLP, CausalTransformer


def stirred(net, key, scale=0.3):
    """The net with noise on every weight, so that the zeros of its last layer hide nothing."""
    leaves, tree = jax.tree.flatten(eqx.filter(net, eqx.is_array))
    keys = jax.random.split(key, len(leaves))
    moved = [a + scale * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), net)


NETS = {
    "mlp of three": lambda key: CausalMLP(3, 2, width=6, depth=1, key=key),
    "mlp of the plane": lambda key: CausalMLP(2, 1, width=6, depth=1, key=key),
    "transformer": lambda key: CausalTransformer(4, 2, width=8, layers=2, heads=2, key=key),
}


@pytest.fixture(params=NETS, scope="module")
def net(request):
    key_build, key_stir = jax.random.split(jax.random.key(2))
    return stirred(NETS[request.param](key_build), key_stir)


def shape_of(net):
    patches = net.patches if isinstance(net, CausalMLP) else len(net.places)
    return patches, (net.first.shape[1] if isinstance(net, CausalMLP) else net.size)


def test_invariant_outputs_read_earlier_patches_only(net, key):
    h = jax.random.normal(key, shape_of(net))
    slope = np.asarray(jax.jacfwd(net)(h))               # (T, 2, p, T, p)
    for i in range(len(h)):
        assert not slope[i, :, :, i:].any(), f"output {i} reads patch {i} or a later one"
        if i:
            assert np.abs(slope[i, :, :, :i]).max() > 1e-4


def test_oracle_one_by_one_gives_what_all_at_once_gives(net, key):
    h = jax.random.normal(key, shape_of(net))
    memory, last, outputs = net.start(), jnp.zeros_like(h[0]), []
    for i in range(len(h)):
        memory, out = net.one(memory, jnp.asarray(i), last)
        outputs.append(out)
        last = h[i]
    np.testing.assert_allclose(jnp.stack(outputs), net(h), atol=2e-5)


def test_invariant_a_fresh_net_says_nothing(key):
    for make in NETS.values():
        net = make(key)
        assert not np.asarray(net(jnp.ones(shape_of(net)))).any()


def test_invariant_labels_move_the_outputs(key):
    net = stirred(CausalTransformer(3, 1, width=4, layers=1, heads=1, classes=2, key=key), key)
    h = jax.random.normal(key, (3, 1))
    outputs = [net(h, jnp.asarray(c)) for c in (0, 1)]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
    memory, out = net.one(net.start(), jnp.asarray(0), h[0], jnp.asarray(1))
    np.testing.assert_allclose(out, outputs[1][0], atol=1e-5)


def test_failure_sizes_and_labels(key):
    with pytest.raises(ValueError, match="patches must be a whole number of at least 2; got 1"):
        CausalMLP(1, 2, key=key)
    with pytest.raises(ValueError, match="width must be a multiple of heads.*got 6 and 4"):
        CausalTransformer(4, 1, width=6, heads=4, key=key)
    with pytest.raises(ValueError, match="heads must be a whole number of at least 1; got 0"):
        CausalTransformer(4, 1, width=6, heads=0, key=key)
    net = CausalTransformer(2, 1, width=4, layers=1, heads=1, classes=3, key=key)
    with pytest.raises(ValueError, match="wants a label below 3; got label=None"):
        net(jnp.zeros((2, 1)))
    net = CausalTransformer(2, 1, width=4, layers=1, heads=1, key=key)
    with pytest.raises(ValueError, match="wants no label"):
        net(jnp.zeros((2, 1)), jnp.asarray(1))
