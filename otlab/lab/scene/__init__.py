"""Pictures as data: every mark, panel and read-out that a scene can hold."""

from otlab.lab.scene.areas import Bars, Heatmap, Images
from otlab.lab.scene.marks import Arrows, Labels, Lines, Paths, Points, Rule, Segments
from otlab.lab.scene.panels import Dial, Panel, Scene, Text, panel, scene

__all__ = [
    "Arrows", "Bars", "Dial", "Heatmap", "Images", "Labels", "Lines", "Panel", "Paths",
    "Points", "Rule", "Scene", "Segments", "Text", "panel", "scene",
]  # fmt: skip
