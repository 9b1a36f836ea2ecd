"""The muscle cells: how they are made from the table, and what the package carries."""

from pathlib import Path

import numpy as np

from otlab.core import data
from otlab.core.data import extract_cells, tables

FOLDER = Path(tables.__file__).parent


def test_scores_are_the_principal_components_of_the_kept_genes():
    module, rng = extract_cells, np.random.default_rng(0)
    fpkm = 0.7 + rng.gamma(1.0, 3.0, size=(40, 60))  # most are kept
    rare = np.zeros((5, 60))
    rare[:, :20] = 1e4  # loud, and in too few cells to be kept
    got, share = module.scores(np.concatenate([rare, fpkm]))
    kept = fpkm[(fpkm >= 1).sum(axis=1) >= module.LEAST_CELLS]
    assert 16 < len(kept) < 41
    logs = np.log1p(kept).T
    variances = np.sort(np.linalg.eigvalsh(np.cov(logs.T, bias=True)))[::-1]
    np.testing.assert_allclose(share, variances[:16] / variances.sum(), rtol=1e-6)
    np.testing.assert_allclose(got.var(axis=0) / got.var(axis=0).sum(),
                               variances[:16] / variances[:16].sum(), rtol=1e-4)
    assert np.isclose(got.std(), 1, atol=1e-5)


def test_it_says_how_to_call_it(capsys):
    assert extract_cells.main([]) == 2
    assert "pip install rdata" in capsys.readouterr().err


def test_the_saved_cells_are_whole_and_name_their_source_and_licence():
    with np.load(FOLDER / "cells.npz") as file:
        hours, counts = np.unique(file["hours"], return_counts=True)
        assert dict(zip(hours.tolist(), counts.tolist(), strict=True)) == {
            0: 69, 24: 74, 48: 79, 72: 49}
        assert file["cells"].shape == (271, 16) and np.isclose(file["cells"].std(), 1, atol=1e-4)
        assert str(file["licence"]) == "Artistic-2.0" and "GSE52529" in str(file["source"])
    readme = (FOLDER / "cells.md").read_text("utf-8")
    assert "Artistic License 2.0" in readme and "GSE52529" in readme


def test_they_are_split_by_the_change_of_medium():
    set_ = data.muscle_cells()
    before, after = set_.split()
    assert before.shape == (69, 16) and after.shape == (202, 16)
    assert set_.fractions.shape == (16,) and 0.15 < set_.fractions.sum() < 0.25
    assert "Trapnell" in set_.source and set_.licence == "Artistic-2.0"
