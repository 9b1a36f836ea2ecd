"""Sliders that always work: `explore`, and the controls that it takes."""

from otlab.lab.explore.assets import explore_assets
from otlab.lab.explore.controls import Control, choice, log_slider, slider
from otlab.lab.explore.view import Explore, explore

__all__ = ["Control", "Explore", "choice", "explore", "explore_assets", "log_slider", "slider"]
