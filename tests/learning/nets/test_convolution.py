"""The convolution against XLA's own: values, every derivative, every way of batching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.learning.nets.convolution import convolve, patches
from otlab.learning.nets.unet import by_xla

# By XLA's kernel with filters of zeros and without; by patches (few channels in), with them and
# without; by shifts (few channels out).
SIDES = [(8, 8, 6, 5), (4, 4, 20, 18), (4, 6, 1, 5), (5, 7, 2, 1), (4, 6, 5, 2)]


def draw(h, w, c_in, c_out, n=3):
    """Images, filters, and directions in which both move."""
    keys = jax.random.split(jax.random.key(h + w), 4)
    shapes = ((n, h, w, c_in), (3, 3, c_in, c_out)) * 2
    return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def check(function, *arguments):
    """function(convolution, *arguments) agrees for ours and XLA's, in its every leaf."""
    ours, theirs = (jax.jit(lambda *z, f=f: function(f, *z))(*arguments)
                    for f in (convolve, by_xla))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and jnp.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", SIDES)
def test_oracle_values_and_both_slopes_are_those_of_xla(sides):
    x, weight, *_ = draw(*sides)
    check(lambda f, x, w: f(x, w), x, weight)
    check(lambda f, x, w: jax.grad(lambda *z: jnp.sum(jnp.sin(f(*z))), argnums=(0, 1))(x, w),
          x, weight)


def test_gradient_forward_mode_and_second_order():
    x, weight, dx, dw = draw(*SIDES[3])

    def slopes(f, x, w):
        return jax.grad(lambda *z: jnp.sum(jnp.sin(f(*z))), argnums=(0, 1))(x, w)

    check(lambda f, *z: jax.jvp(lambda x, w: f(jnp.tanh(x), w), z[:2], z[2:]), x, weight, dx, dw)
    check(lambda f, *z: jax.jvp(lambda x, w: slopes(f, x, w), z[:2], z[2:]), x, weight, dx, dw)
    check(lambda f, *z: jax.grad(lambda x, w: sum(jnp.sum(s**2) for s in slopes(f, x, w)),
                                 argnums=(0, 1))(*z[:2]), x, weight, dx, dw)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
def test_invariant_batches_of_images_of_filters_or_of_both(axes):
    x, weight, *_ = draw(*SIDES[3])
    many = [z if axis is None else jnp.stack([z, 2 - z], axis=axis)
            for z, axis in zip((x, weight), axes, strict=True)]

    def run(f, x, w):
        g = jax.grad(lambda *z: jnp.sum(jnp.sin(f(*z))), argnums=(0, 1))
        return jax.vmap(f, in_axes=axes)(x, w), jax.vmap(g, in_axes=axes)(x, w)

    check(run, *many)


def test_invariant_a_loop_of_training_is_that_of_xla():
    x, weight, *_ = draw(*SIDES[0])

    def run(f, x, w):
        def body(w, _):
            return w - 0.01 * jax.grad(lambda w: jnp.mean(f(x, w) ** 2))(w), None
        return jax.lax.scan(body, w, length=4)[0]

    check(run, x, weight)


def test_invariant_slopes_lower_to_the_form_that_is_fast_in_a_loop():
    """Batch first and channels last in every convolution of a loop's body, slopes included."""
    x, weight, *_ = draw(*SIDES[0])

    def run(x, w):
        def body(w, _):
            def loss(w):
                return jnp.sum(convolve(jnp.sin(convolve(x, w)), w.swapaxes(2, 3)) ** 2)
            return w - 0.1 * jax.grad(loss)(w), None
        return jax.lax.scan(body, w, length=2)[0]

    text = jax.jit(run).lower(x, weight).as_text()
    forms = [line.split("dim_numbers = ")[1].split(",")[0] + line.split("dim_numbers = ")[1][:60]
             for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(forms) >= 5
    assert all("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in form for form in forms)


def test_oracle_patches_are_the_surroundings_of_a_pixel():
    x = jnp.arange(24.0).reshape(1, 4, 3, 2)
    found = patches(x).reshape(4, 3, 3, 3, 2)
    np.testing.assert_array_equal(found[2, 1], x[0, 1:4, 0:3])
    assert not found[0, 0, 0].any() and not found[3, 2, :, 2].any()


def test_failure_shapes_are_named():
    with pytest.raises(ValueError, match=r"weight \(3, 3, c, c_out\); got \(2, 4, 4, 3\)"):
        convolve(jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 2, 5)))
    with pytest.raises(ValueError, match="convolve wants"):
        convolve(jnp.zeros((4, 4, 3)), jnp.zeros((3, 3, 3, 5)))
