"""Small tables of measurements: header cells, intervals, a caption; HTML, and text without it."""

import hashlib
import html
from collections.abc import Mapping
from numbers import Integral, Real

from otlab.core.stats import MINUS
from otlab.lab.figures.shown import require_sentence


class Table:
    """A table that a notebook shows; made by `table`. cells: texts, row by row."""

    def __init__(self, rows: list[str], columns: list[str], cells: list[list[str]],
                 caption: str, corner: str, note: str):
        self.rows, self.columns, self.cells = rows, columns, cells
        self.caption, self.corner, self.note = caption, corner, note

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": str(self)}

    def html(self) -> str:
        """The table with header cells for its rows and columns.

        Its caption stands before the box that a phone pushes sideways, so none of it is cut.
        """
        def cell(tag, text, **attributes):
            extra = "".join(f' {k}="{v}"' for k, v in attributes.items())
            return f'<{tag}{extra} style="text-align:left">{html.escape(text)}</{tag}>'

        corner = cell("th", self.corner, scope="col") if self.corner else "<td></td>"
        head = corner + "".join(cell("th", c, scope="col") for c in self.columns)
        body = "".join("<tr>" + cell("th", name, scope="row")
                       + "".join(cell("td", text) for text in texts) + "</tr>"
                       for name, texts in zip(self.rows, self.cells, strict=True))
        note = f'<p class="otlab-footer"><small>{html.escape(self.note)}</small></p>'
        name = f"table-{hashlib.sha256(str(self).encode()).hexdigest()[:12]}"
        return (f'<p class="otlab-caption" id="{name}">{html.escape(self.caption)}</p>'
                f'<div class="otlab-scroll"><table class="otlab-numbers" aria-labelledby="{name}" '
                'style="min-width:min(100%,34rem)">'
                f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
                f"{note if self.note else ''}")

    def __str__(self) -> str:
        grid = [[self.corner, *self.columns],
                *([n, *c] for n, c in zip(self.rows, self.cells, strict=True))]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip()
                 for row in grid]
        return "\n".join([self.caption, *lines, *([self.note] if self.note else [])])


def table(rows: Mapping[str, Mapping], *, caption: str, corner: str = "", note: str = "") -> Table:
    """End a cell with this: measurements with their intervals, in place of printed sentences.

    Args:
        rows: row → {column: value}, the same columns in each row. A value is an `Interval`, a
            number (three digits; write a text for others), a text, or None for a dash.
        caption: the finding, then how to read it: units, seeds, what the interval is.
        corner: what the rows are, above their names.
        note: smaller, below: where the numbers are from, such as `run.brief`.

    Raises:
        ValueError: for no rows, rows with other columns than the first, or a missing caption.
    """
    require_sentence("caption", caption)
    if not rows or not all(rows.values()):
        raise ValueError("table: rows must be {row: {column: value}} with at least one of each.")
    columns = list(next(iter(rows.values())))
    for name, row in rows.items():
        if list(row) != columns:
            raise ValueError(f"table: row {name!r} has the columns {', '.join(map(str, row))}; "
                             f"the first has {', '.join(map(str, columns))}.")
    cells = [[_text(value) for value in row.values()] for row in rows.values()]
    return Table(list(map(str, rows)), list(map(str, columns)), cells, caption, corner, note)


def _text(value) -> str:
    value = value.item() if hasattr(value, "item") else value
    if value is None:
        return "–"
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{value:,}".replace("-", MINUS)
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{value:.3g}".replace("-", MINUS)
    return str(value)
