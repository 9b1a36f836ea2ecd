"""Readers of the files in which image sets are handed out; none of them runs code from a file."""

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

SIDE = 32
# What a pickled array may name; whatever else a file asks for is refused.
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0]
       for core in ("core", "_core")},
    # Python 3 writes bytes this way in the old protocols; it is bytes(text, encoding).
    ("_codecs", "encode"): lambda text, encoding: bytes(text, "latin1"),
}


class _Arrays(pickle.Unpickler):
    """Rebuilds numbers, texts, lists and arrays, and nothing else."""

    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"it names {module}.{name}, which no image set needs") from None


def read_idx(folder: Path, stem: str, variable: str) -> np.ndarray:
    """Bytes of an IDX file (MNIST's own format), gzipped or not."""
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.exists():
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if len(raw) < 8 or raw[:3] != b"\0\0\x08":
                raise ValueError(f"{path.name} in {variable} is not an IDX file of bytes; "
                                 "fetch it again from where you had it.")
            rank = raw[3]
            shape = tuple(np.frombuffer(raw, ">u4", rank, offset=4))
            return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    raise FileNotFoundError(
        f"{variable} names a folder without {stem} or {stem}.gz; "
        "point it at the folder that holds the four MNIST files."
    )


def read_batches(folder: Path, stems: list[str], variable: str, *, first_label: int = 0):
    """(pixels (n, 32, 32, 3) uint8, labels (n,)) of each batch of a set of 32 x 32 colours.

    Three ways in which such sets are handed out: `STEM`, a pickle of {data, labels}; `STEM.npz`,
    the same two arrays; `STEM.bin`, rows of one byte of label and 3,072 of pixels. Each row holds
    all reds, then all greens, then all blues.

    Args:
        folder: holds the batches.   stems: their names.
        variable: the environment variable that named the folder, for the sentences.
        first_label: what the set calls its first class; subtracted.

    Raises:
        FileNotFoundError: when a batch is not there.
        ValueError: when one is damaged, or a pickle that wants more than arrays.
    """
    parts = []
    for stem in stems:
        here = [p for p in (folder / stem, folder / f"{stem}.npz", folder / f"{stem}.bin")
                if p.is_file()]
        if not here:
            raise FileNotFoundError(
                f"{variable} names a folder without {stem}, {stem}.npz or {stem}.bin; point it at "
                f"the unpacked folder that holds {stems[0]} to {stems[-1]}.")
        try:
            pixels, labels = _batch(here[0])
        except (ValueError, KeyError, EOFError, IndexError, pickle.UnpicklingError,
                zipfile.BadZipFile) as error:
            raise ValueError(f"{here[0].name} in {variable} is no batch of 32 x 32 colour images "
                             f"({error}); fetch it again from where you had it.") from error
        parts.append((pixels, labels - first_label))
    return parts


def _batch(path: Path):
    if path.suffix == ".bin":
        rows = np.fromfile(path, np.uint8).reshape(-1, 1 + 3 * SIDE**2)
        flat, labels = rows[:, 1:], rows[:, 0]
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            flat, labels = file["data"], file["labels"]
    else:
        found = _Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        if not isinstance(found, dict):
            raise ValueError("it holds no dictionary")
        found = {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()}
        flat, labels = found["data"], found["labels"]
    flat, labels = np.asarray(flat), np.asarray(labels, np.int32)
    if flat.dtype != np.uint8 or flat.shape != (len(labels), 3 * SIDE**2):
        raise ValueError(f"its data are {flat.dtype}{list(flat.shape)} for {len(labels)} labels")
    return flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels
