"""The shared clouds and the small real data sets, with source and licence.

Nothing here downloads anything: real data come from inside an installed package or from a
folder that you name.
"""

from otlab.core.data.clouds import eight_gaussians, gaussian, two_moons
from otlab.core.data.images import Images, cifar10, digits, imagenet32, images, mnist
from otlab.core.data.tables import Cells, muscle_cells
from otlab.core.data.texts import CONCEPTS, NEUTRAL, Concept, Facts, bags, facts

__all__ = ["CONCEPTS", "NEUTRAL", "Cells", "Concept", "Facts", "Images", "bags", "cifar10",
           "digits", "eight_gaussians", "facts", "gaussian", "imagenet32", "images", "mnist",
           "muscle_cells", "two_moons"]
