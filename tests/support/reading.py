"""What the browser tests share: the pages of the built book, and where measured numbers go."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "_build" / "reports"
SMOKE = ROOT / "_build" / "smoke"  # what nbval executed, and the book made from it


def pages(book: Path) -> list[str]:
    """Every page that a reader can come to."""
    return sorted(p.relative_to(book).as_posix() for p in book.rglob("*.html")
                  if not p.name.startswith("_") and "_static" not in p.parts)


def chapter_pages(book: Path) -> list[str]:
    """The pages made from notebooks."""
    return [p for p in pages(book) if p.startswith("notebooks/")]


def report(name: str, values: dict) -> None:
    """Merge measured numbers into _build/reports/NAME.json."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{name}.json"
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | values, indent=1, sort_keys=True) + "\n")
