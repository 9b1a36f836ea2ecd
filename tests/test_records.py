"""Every chapter ran at the page budget as it stands: its record in notebooks/results says so."""

from pathlib import Path

from otlab.lab.execution.chapters import read_chapter
from otlab.lab.execution.record import faults

ROOT = Path(__file__).resolve().parent.parent


def test_every_chapter_has_a_record_of_its_present_source():
    """`make book` makes those that are missing or old; commit them with the chapter."""
    said = {p.stem: faults(p, ROOT) for p in (ROOT / "notebooks").rglob("*.ipynb")
            if ".ipynb_checkpoints" not in p.parts and read_chapter(p).parameters is not None}
    assert len(said) > 10
    assert [line for lines in said.values() for line in lines] == []
