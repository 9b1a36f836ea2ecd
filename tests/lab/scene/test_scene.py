"""Scenes: what marks accept, what they refuse and in which words."""

import jax.numpy as jnp
import numpy as np
import pytest

from otlab.lab.scene import (
    Arrows,
    Bars,
    Dial,
    Heatmap,
    Images,
    Labels,
    Lines,
    Paths,
    Points,
    Rule,
    Scene,
    Segments,
    Text,
    panel,
    scene,
)
from otlab.lab.scene.areas import block_mean
from otlab.lab.scene.still import draw_still


@pytest.fixture
def cloud():
    return np.random.default_rng(0).normal(size=(20, 2))


def test_jax_arrays_of_any_precision_are_taken(cloud):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.int32):
        mark = Points(jnp.asarray(cloud, dtype))
        assert mark.x.dtype == np.float64 and mark.x.shape == (20, 2)


def test_scene_parts_panels_from_readouts(cloud):
    result = scene(Dial("a", 0.5), panel(Points(cloud)), Text("b", 3), say="So.")
    assert isinstance(result, Scene)
    assert [type(r).__name__ for r in result.readouts] == ["Dial", "Text"]
    assert result.readouts[1].text == "3" and len(result.panels) == 1


def test_arrows_end_at_the_scaled_field(cloud):
    arrows = Arrows(cloud, jnp.ones((20, 2)), scale=0.5)
    np.testing.assert_allclose(arrows.y, cloud + 0.5)
    assert arrows.head


@pytest.mark.parametrize("n", [256, 257, 700, 1031])
def test_block_mean_keeps_the_total_by_weight(n):
    z = np.random.default_rng(n).random((n, 3))
    small = block_mean(z, 0)
    assert len(small) <= 256
    starts = np.unique(np.linspace(0, n, min(n, 256), endpoint=False).astype(int))
    sizes = np.diff(np.append(starts, n))
    np.testing.assert_allclose((small * sizes[:, None]).sum(0), z.sum(0))


BAD = {
    "not finite": (lambda: Points([[0.0, np.nan]], label="noise"), r"Points\('noise'\).*\(0, 1\)"),
    "three columns": (lambda: Points(np.zeros((4, 3))), "Project it first"),
    "flat cloud": (lambda: Points(np.zeros(4)), r"2 axes; got shape \(4,\)"),
    "words": (lambda: Points([["a", "b"]]), "must be numbers"),
    "role": (lambda: Points(np.zeros((4, 2)), role="sauce"), "'sauce' is none of source"),
    "values": (lambda: Points(np.zeros((4, 2)), value=[1, 2]), r"\(2,\).*should have \(4,\)"),
    "ends": (lambda: Segments(np.zeros((4, 2)), np.zeros((5, 2))), r"x\[i\], y\[j\]"),
    "map": (lambda: Heatmap(np.eye(2), cmap="jet"), "'jet' is none of cividis"),
    "limits": (lambda: Heatmap(np.eye(2), vmin=1, vmax=0), "vmin=1 must lie below"),
    "off centre": (lambda: Heatmap(np.eye(2), cmap="signed", vmin=0, vmax=1), "centred on zero"),
    "empty map": (lambda: Heatmap(np.zeros((0, 3))), "z is empty"),
    "line": (lambda: Lines([1, 2, 3], [1, 2]), r"y has shape \(2,\)"),
    "band": (lambda: Lines([1, 2], [1, 2], band=[1, 2, 3]), "pair"),
    "band length": (lambda: Lines([1, 2], [1, 2], band=([1], [2])), r"\(1,\)"),
    "band nan": (lambda: Lines([1], [1], band=([np.inf], [2])), "not finite"),
    "rule": (lambda: Rule(x=1, y=2), "exactly one"),
    "labels": (lambda: Labels(np.zeros((2, 2)), ["a"]), "1 texts for 2"),
    "names": (lambda: Bars([1, 2], ["a"]), "1 names for 2"),
    "paths": (lambda: Paths(np.zeros((3, 2))), "3 axes"),
    "image labels": (lambda: Images(np.zeros((2, 3, 3)), labels=["a"]), "1 labels for 2"),
    "no images": (lambda: Images(np.zeros((0, 3, 3))), "at least one picture"),
    "dial": (lambda: Dial("E", np.nan), "'E'.*value is nan"),
    "dial range": (lambda: Dial("E", 0.5, low=1, high=0), "low=1.0 must lie below"),
    "empty panel": (lambda: panel(title="A"), "panel 'A' is empty"),
    "array": (lambda: panel(np.zeros((2, 2))), "ndarray is no mark"),
    "dial in panel": (lambda: panel(Dial("E", 0)), "pass it to scene"),
    "mixture": (lambda: panel(Heatmap(np.eye(2)), Points(np.zeros((1, 2)))), "mixes"),
    "two maps": (lambda: panel(Heatmap(np.eye(2)), Heatmap(np.eye(2))), "one Heatmap fills"),
    "log": (lambda: panel(Lines([0, 1], [1, 2], label="OT"), xscale="log"), r"'OT'\) reaches 0"),
    "log limit": (lambda: panel(Lines([1], [1]), yscale="log", ylim=(0, 1)), "positive"),
    "xlim": (lambda: panel(Lines([1], [1]), xlim=(2, 1)), "must rise"),
    "scale": (lambda: panel(Lines([1], [1]), xscale="ln"), "neither linear nor log"),
    "bare mark": (lambda: scene(Points(np.zeros((1, 2)))), "put Points on a panel"),
    "empty scene": (lambda: scene(), "scene is empty"),
    "stranger": (lambda: scene("text"), "got str"),
}


@pytest.mark.parametrize("case", BAD)
def test_failure_is_a_sentence(case):
    make, words = BAD[case]
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert str(caught.value).endswith(".")


def everything(cloud):
    """A scene with every kind of mark."""
    field = Heatmap(np.outer(np.arange(-3, 4), np.ones(5)), cmap="signed", extent=(-3, 3, -2, 2))
    return scene(
        panel(
            Segments(cloud, cloud + 1, value=cloud[:, 0], label="cost"),
            Points(cloud, label="noise"),
            Points(cloud + 1, role="target"),
            Labels(cloud[:1], ["here"]),
            title="Pairs",
            equal=True,
        ),
        panel(field, Arrows(cloud, cloud), Paths(np.stack([cloud, cloud * 2], 1))),
        panel(
            Lines([1, 2, 4], [3, 2, 1.0], label="OT", band=([2, 1, 0.5], [4, 3, 2])),
            Lines([1, 2, 4], [3, 3, 3.0], value=0.3, vmin=0, vmax=1),
            Rule(y=1.5, label="floor"),
            xscale="log",
            yscale="log",
            xticks=[1, 2, 4],
        ),
        panel(Heatmap(np.eye(6)), xlabel="target"),
        panel(Images(np.zeros((5, 8, 8)), labels="abcde"), title="Digits"),
        panel(Bars([1, 2], ["a", "b"], interval=([0.5, 1], [2, 3])), Bars([2, 1], ["a", "b"])),
        Dial("sharpness", 0.2, target=0.5),
        Text("solver", "converged"),
        say="All of it.",
    )


def test_still_draws_every_kind_of_mark(cloud):
    from otlab.lab.explore.pack import Limits

    whole, limits = everything(cloud), Limits()
    limits.see(whole)
    still = draw_still(whole, limits)
    assert still.png.startswith(b"\x89PNG") and len(still.png) < 200_000
    assert still.png == draw_still(whole, limits).png
