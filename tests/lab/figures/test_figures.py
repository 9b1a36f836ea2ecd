import matplotlib.pyplot as plt
import numpy as np
import pytest

from otlab.lab import figures


def test_show_carries_alt_caption_and_closes():
    with figures.style():
        fig, ax = plt.subplots(figsize=(3, 2))
        figures.cloud(ax, np.eye(2), "source")
        figures.segments(ax, np.zeros((2, 2)), np.eye(2), value=[0, 1])
        figures.band(ax, [1, 2], [[1, 2], [2, 3], [3, 4]], "baseline")
    out = figures.show(fig, alt='Two "blue" points near a line.', caption="Pairs cost less than 1.")
    html = out._repr_mimebundle_()["text/html"]
    assert 'alt="Two &quot;blue&quot; points' in html and "<figcaption>Pairs cost" in html
    assert not plt.fignum_exists(fig.number)


def test_image_grid_places_each_image():
    fig, ax = plt.subplots()
    stack = np.stack([np.full((2, 2), v) for v in (-1.0, 0.0, 0.5)])
    figures.image_grid(ax, stack, columns=2)
    canvas = ax.images[0].get_array()
    assert canvas.shape == (5, 5) and canvas[0, 0] == -1 and canvas[3, 0] == 0.5
    plt.close(fig)


def test_failure_sentences():
    fig, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        figures.cloud(ax, np.zeros((3, 5)), "source")
    with pytest.raises(ValueError, match="role is one of"):
        figures.cloud(ax, np.zeros((3, 2)), "blue")
    with pytest.raises(ValueError, match="caption must be a sentence"):
        figures.show(fig, alt="A picture of two points.", caption="Results")
    plt.close(fig)
