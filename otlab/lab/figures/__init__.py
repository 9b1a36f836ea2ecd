"""The figure kinds of every chapter: palette, clouds, intervals, tables, a guess to commit to."""

from otlab.lab.figures.guessed import Guess, guess
from otlab.lab.figures.intervals import band, bands, interval_rows
from otlab.lab.figures.palette import COLOURS, LINES, MARKS, TEXT, style
from otlab.lab.figures.points import cloud, image_grid, segments
from otlab.lab.figures.shown import Figure, show
from otlab.lab.figures.tables import Table, table

__all__ = ["COLOURS", "LINES", "MARKS", "TEXT", "Figure", "Guess", "Table", "band", "bands",
           "cloud", "guess", "image_grid", "interval_rows", "segments", "show", "style", "table"]
