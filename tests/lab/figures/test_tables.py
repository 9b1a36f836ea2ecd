from html.parser import HTMLParser

import numpy as np
import pytest

from otlab.core.stats import mean_interval
from otlab.lab import figures

ROWS = {
    "λ = 0.1": {"κ": mean_interval([1.0, 2.0, 3.0]), "n": 1_024, "error, %": -0.12345},
    "a < b": {"κ": None, "n": np.int64(-5), "error, %": "at most 3"},
}


class Cells(HTMLParser):
    """Tag, scope and text of each cell."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("th", "td"):
            self.found.append([tag, dict(attributes).get("scope"), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data


def test_cells_have_headers_and_numbers_their_digits():
    made = figures.table(ROWS, caption="The error falls with λ.", corner="loss", note="saved")
    read = Cells()
    read.feed(made.html().split("</table>")[0])
    assert read.found[:5] == [["th", "col", "loss"], ["th", "col", "κ"], ["th", "col", "n"],
                              ["th", "col", "error, %"], ["th", "row", "λ = 0.1"]]
    assert [text for tag, _, text in read.found if tag == "td"] == [
        "2.0 ± 2.5", "1,024", "−0.123", "–", "−5", "at most 3"]
    assert "a &lt; b" in made.html()


def test_the_caption_names_the_table_from_outside_the_box_that_scrolls():
    before, inside = figures.table(ROWS, caption="The error < 1 falls.").html().split("<div", 1)
    name = before.split('id="')[1].split('"')[0]
    assert before.endswith("The error &lt; 1 falls.</p>")
    assert f'<table class="otlab-numbers" aria-labelledby="{name}"' in inside
    assert "The error" not in inside


def test_text_stands_in_columns():
    lines = str(figures.table(ROWS, caption="The error falls with λ.", note="saved")).splitlines()
    assert lines[0] == "The error falls with λ." and lines[-1] == "saved"
    assert len({line.index(word) for line, word in zip(lines[1:4], ("n ", "1,024", "−5"),
                                                       strict=True)}) == 1


@pytest.mark.parametrize("rows, caption, said", [
    (ROWS, "Results", "caption must be a sentence"),
    ({}, "The error falls with λ.", "at least one"),
    ({"a": {"x": 1}, "b": {"y": 1}}, "The error falls with λ.", "row 'b' has the columns y"),
])
def test_failure_sentences(rows, caption, said):
    with pytest.raises(ValueError, match=said):
        figures.table(rows, caption=caption)
