"""Colour sets in their official formats, written small; files that want more than arrays."""

import pickle
import struct

import numpy as np
import pytest

from otlab.core import data
from otlab.core.data.image_files import read_batches

TRAIN = {"OTLAB_CIFAR10": [f"data_batch_{k}" for k in range(1, 6)],
         "OTLAB_IMAGENET32": [f"train_data_batch_{k}" for k in range(1, 11)]}
TEST = {"OTLAB_CIFAR10": "test_batch", "OTLAB_IMAGENET32": "val_data"}
LOAD = {"OTLAB_CIFAR10": data.cifar10, "OTLAB_IMAGENET32": data.imagenet32}


class Python2(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which is how both sets were made."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_string


def write_pickle(path, content):
    with open(path, "wb") as file:
        Python2(file, protocol=2).dump(content)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))


def write(folder, stem, pixels, labels, kind):
    """pixels (n, 3072) uint8 and labels, as the official release of that kind has them."""
    if kind == "pickle":
        write_pickle(folder / stem, {
            b"data": pixels, b"labels": [int(k) for k in labels], b"batch_label": b"batch",
            b"filenames": [b"a.png"] * len(labels)})
    elif kind == "npz":
        np.savez(folder / f"{stem}.npz", data=pixels, labels=labels, mean=pixels.mean(0))
    else:
        rows = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
        (folder / f"{stem}.bin").write_bytes(rows.tobytes())


@pytest.mark.parametrize("variable, kind, first", [
    ("OTLAB_CIFAR10", "pickle", 0), ("OTLAB_CIFAR10", "bin", 0),
    ("OTLAB_IMAGENET32", "pickle", 1), ("OTLAB_IMAGENET32", "npz", 1)])
def test_oracle_every_pixel_of_the_official_formats(variable, kind, first, tmp_path, monkeypatch):
    rng, stems = np.random.default_rng(0), [*TRAIN[variable], TEST[variable]]
    pixels = rng.integers(0, 256, (len(stems), 2, 3072)).astype(np.uint8)
    labels = np.arange(2 * len(stems)).reshape(-1, 2) + first
    for stem, p, k in zip(stems, pixels, labels, strict=True):
        write(tmp_path, stem, p, k, kind)
    monkeypatch.setenv(variable, str(tmp_path))
    LOAD[variable].cache_clear()
    found = LOAD[variable]()
    LOAD[variable].cache_clear()
    assert found.images.shape == (2 * len(stems), 32, 32, 3) and found.images.dtype == np.float32
    assert found.labels.tolist() != sorted(found.labels)                     # shuffled …
    assert found.labels[-2:].tolist() == [2 * len(stems) - 2, 2 * len(stems) - 1]   # … but the test
    back = np.round((found.images + 1) * 127.5).astype(np.uint8)
    for image, label in zip(back, found.labels, strict=True):
        flat = pixels.reshape(-1, 3072)[label]
        red, green, blue = (flat[k * 1024:(k + 1) * 1024].reshape(32, 32) for k in range(3))
        np.testing.assert_array_equal(image, np.stack([red, green, blue], axis=-1))
    train, test = found.split()
    assert len(train.images) == 2 * len(TRAIN[variable]) and len(test.images) == 2
    assert len(found.split(0.25)[0].images) == round(2 * len(stems) * 0.75)
    assert found.source and found.licence and found.flat.shape[1] == 3072


@pytest.mark.parametrize("variable", TRAIN)
def test_failure_absent_sets_say_what_to_set(variable, tmp_path, monkeypatch):
    LOAD[variable].cache_clear()
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(FileNotFoundError, match=f"Set {variable} to your folder"):
        LOAD[variable]()
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{variable} names a folder without.*batch_1"):
        LOAD[variable]()


class Intruder:
    """Would run a command when unpickled."""

    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize("content, sentence", [
    ({b"data": Intruder(), b"labels": [0]}, "names (__builtin__|builtins).print"),
    ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, r"uint8\[2, 3072\] for 1 labels"),
    ({b"data": np.zeros((1, 3072)), b"labels": [0]}, "float64"),
    ({b"labels": [0]}, "no batch.*data"), ([1, 2], "no dictionary")])
def test_failure_a_pickle_that_is_no_batch(content, sentence, tmp_path, capsys):
    write_pickle(tmp_path / "data_batch_1", content)
    with pytest.raises(ValueError, match=sentence):
        read_batches(tmp_path, ["data_batch_1"], "OTLAB_CIFAR10")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("name, raw", [("a", b"\x80\x02}"), ("a.bin", b"12345"),
                                       ("a.npz", b"PK\3\4torn")])
def test_failure_a_torn_file_is_named(name, raw, tmp_path):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=f"{name} in OTLAB_X is no batch"):
        read_batches(tmp_path, ["a"], "OTLAB_X")
