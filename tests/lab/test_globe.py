"""The globe: arcs stay on the sphere, and the figure carries its words, its still, its slider."""

import json

import numpy as np
import pytest

from otlab.lab.globe import arcs, globe

WORDS = dict(control="λ", title="Maps of a sphere", alt="A globe with arrows between two caps.",
             caption="The arrows are short and side by side.")


def unit(key, n):
    p = np.random.default_rng(key).normal(size=(n, 3))
    return p / np.linalg.norm(p, axis=1, keepdims=True)


def test_arcs_stay_on_the_sphere_from_end_to_end_at_even_speed():
    x, y = unit(0, 20), unit(1, 20)
    path = arcs(x, y, 9)
    assert np.allclose(np.linalg.norm(path, axis=2), 1)
    assert np.allclose(path[:, 0], x) and np.allclose(path[:, -1], y)
    steps = np.arccos(np.clip((path[:, 1:] * path[:, :-1]).sum(2), -1, 1))
    assert np.allclose(steps, np.arccos((x * y).sum(1))[:, None] / 8, atol=1e-6)


def test_a_point_that_stays_has_an_arc_and_antipodes_have_none():
    x = unit(2, 3)
    assert np.allclose(arcs(x, x), x[:, None])
    assert np.isnan(arcs(x, -x)).all()


def test_each_position_of_the_slider_shows_one_map():
    x, y, ends = unit(0, 5), unit(1, 7), np.stack([unit(k, 5) for k in (2, 3, 4)])
    made = globe(x, y, ends, labels=["0", "0.1", "1"], start=2, **WORDS)
    bundle = made._repr_mimebundle_()
    plot = json.loads(json.dumps(bundle["application/vnd.plotly.v1+json"]))
    shown = [trace.get("visible", True) for trace in plot["data"][3:]]
    assert shown == [False] * 4 + [True] * 2
    for k, step in enumerate(plot["layout"]["sliders"][0]["steps"]):
        visible = step["args"][0]["visible"]
        assert len(visible) == len(plot["data"]) and all(visible[:3])
        assert [j for j in range(6) if visible[3 + j]] == [2 * k, 2 * k + 1]
    assert plot["layout"]["meta"] == {"alt": WORDS["alt"], "caption": WORDS["caption"]}
    assert WORDS["alt"] in bundle["text/html"] and "<img" in bundle["text/html"]


def test_failure_names_the_shapes():
    with pytest.raises(ValueError, match="3 labels"):
        globe(unit(0, 5), unit(1, 5), unit(2, 5)[None], labels=["0", "1", "2"], start=0, **WORDS)
