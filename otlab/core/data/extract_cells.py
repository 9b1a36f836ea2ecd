"""Make cells.npz beside this file: 271 muscle cells in 16 coordinates, from real data.

    apt-get download r-bioc-hsmmsinglecell && dpkg -x r-bioc-hsmmsinglecell*.deb cells
    pip install rdata
    python -m otlab.core.data.extract_cells cells/usr/lib/R/site-library/HSMMSingleCell/data

Human skeletal muscle myoblasts, sequenced cell by cell 0, 24, 48 and 72 hours after the change of
medium that makes them differentiate (Trapnell et al., 2014). We keep the genes with FPKM >= 1 in
at least 50 cells, take log(1 + FPKM), centre each gene, and keep the 16 leading principal
components, divided by one common number so that an entry has standard deviation 1.
"""

import datetime
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().with_name("cells.npz")
SOURCE = ("HSMMSingleCell 1.18 (Trapnell et al., Nature Biotechnology 32, 2014; GEO GSE52529), "
          "16 principal components of log(1 + FPKM)")
COMPONENTS, LEAST_CELLS = 16, 50


def scores(fpkm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (cells, 16) of fpkm (genes, cells) on its components, and fractions of variance."""
    kept = (fpkm >= 1).sum(axis=1) >= LEAST_CELLS
    logs = np.log1p(fpkm[kept]).T
    U, S, _ = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    out = (U * S)[:, :COMPONENTS]
    return (out / out.std()).astype(np.float32), S[:COMPONENTS] ** 2 / np.sum(S**2)


def main(arguments: list[str]) -> int:
    """Read the folder that the command line names, write the file; the exit code."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "HSMM_expr_matrix.rda").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        import rdata
    except ImportError:
        print("rdata reads R's files and is not installed: pip install rdata", file=sys.stderr)
        return 1
    began, folder = time.monotonic(), Path(arguments[0])
    matrix = rdata.read_rda(folder / "HSMM_expr_matrix.rda")["HSMM_expr_matrix"]
    sheet = rdata.read_rda(folder / "HSMM_sample_sheet.rda")["HSMM_sample_sheet"]
    cells, share = scores(np.asarray(matrix, np.float64))
    stamp = {"command": "python -m otlab.core.data.extract_cells",
             "date": datetime.date.today().isoformat(),
             "machine": f"one CPU core ({platform.machine()})",
             "seconds": round(time.monotonic() - began, 1), "given": {}}
    np.savez_compressed(OUT, stamp=json.dumps(stamp), cells=cells, share=share, source=SOURCE,
                        hours=np.asarray(sheet["Hours"], np.int16), licence="Artistic-2.0")
    print(f"{OUT.name}: {cells.shape[0]} cells, {share.sum():.0%} of the variance, "
          f"{OUT.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
