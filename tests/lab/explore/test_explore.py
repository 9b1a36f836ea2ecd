"""Sliders: positions, packing within half a pixel, the three modes, and errors as sentences."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.lab.explore import choice, explore, explore_assets, log_slider, slider
from otlab.lab.explore.pack import PIXELS, Limits, Packer, expand, pack_scene
from otlab.lab.scene import Dial, Heatmap, Lines, Points, Segments, panel, scene
from otlab.lab.scene.numbers import tidy

X = np.random.default_rng(0).normal(size=(64, 2))


def frame(n, epsilon):
    x = X[:n]
    return scene(
        panel(Segments(x, x + epsilon, value=x[:, 0]), Points(x), title="Pairs"),
        panel(Lines([1, 2, 4], [epsilon, 2 * epsilon, 3]), yscale="log"),
        Dial("sharpness", epsilon / 3, target=0.1),
        say=f"n {n}, epsilon {epsilon}",
    )


def make(frame=frame, **changes):
    settings = {
        "title": "A plan",
        "alt": "Points and segments.",
        "caption": "Found & shown.",
        "n": slider(16, 64, 32, 16, unit="points"),
        "epsilon": log_slider(0.01, 1, start=0.1, steps=3, label="ε", live_steps=41),
    }
    return explore(frame, **(settings | changes))


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setenv("OTLAB_EXPLORE", "static")


def unpack(spec: dict, block: bytes) -> np.ndarray:
    """The values of a packed array, as the page reads them: byte planes, low ones first."""
    n, at = spec["n"], spec["at"]
    planes = np.frombuffer(block, np.uint8, n * spec["bytes"], at).reshape(spec["bytes"], n)
    q = sum(plane.astype(np.float64) * 256**i for i, plane in enumerate(planes))
    return spec["lo"] + q * spec["step"]


def data_of(figure) -> dict:
    return json.loads(re.search(r"<script[^>]*>(.*)</script>", figure.html()).group(1))


# Controls


def test_log_slider_passes_through_its_start():
    control = log_slider(3e-3, 3, start=0.1, steps=9, live_steps=60)
    assert control.values[control.start] == control.live_values[control.live_start] == 0.1
    assert (control.values[0], control.values[-1]) == (pytest.approx(3e-3), pytest.approx(3))
    assert len(control.values) == 9 and len(control.live_values) == 60
    assert np.all(np.diff(control.values) > 0) and np.all(np.diff(control.live_values) > 0)


def test_integer_log_slider_gives_python_ints():
    control = log_slider(16, 2048, start=256, steps=8, integer=True)
    assert control.values == (16, 32, 64, 128, 256, 512, 1024, 2048)
    assert all(type(v) is int for v in control.values)


@given(
    low=st.floats(1e-6, 10),
    ratio=st.floats(1.5, 1e6),
    where=st.floats(0, 1),
    steps=st.integers(2, 30),
)
def test_log_slider_rises_and_holds_start(low, ratio, where, steps):
    high = low * ratio
    start = min(max(low * ratio**where, low), high)
    control = log_slider(low, high, start, steps)
    assert control.values[control.start] == start
    assert np.all(np.diff(control.values) > 0)
    assert len(control.values) in (steps, steps + 1)


def test_slider_keeps_ints_and_ends():
    assert slider(0, 10, 4, 2).values == (0, 2, 4, 6, 8, 10)
    control = slider(0.0, 1.0, 0.3, 0.1)
    assert control.values[control.start] == 0.3 and len(control.values) == 11


BAD_CONTROLS = {
    "outside": (lambda: slider(0, 10, 11, 1), "start=11 lies outside of 0 to 10"),
    "between": (lambda: slider(0, 10, 3, 2), "nearest are 2 and 4"),
    "falling": (lambda: slider(3, 1, 2, 1), "low=3 must lie below"),
    "step": (lambda: slider(0, 1, 0, 0), "step=0 must be above 0"),
    "no log": (lambda: log_slider(0, 1, 0.5, 5), "low=0 has no logarithm"),
    "nan": (lambda: log_slider(1, np.nan, 1, 5), "high must be a finite number"),
    "few": (lambda: log_slider(1, 2, 1, 1), "at least 2"),
    "half": (lambda: log_slider(1, 9, 2.5, 3, integer=True), "no whole number"),
    "stranger": (lambda: choice(["a", "b"], "c"), "'c' is none of"),
    "one": (lambda: choice(["a"]), "at least two different"),
    "texts": (lambda: choice(["a", "b"], texts=["A"]), "1 texts for 2"),
}


@pytest.mark.parametrize("case", BAD_CONTROLS)
def test_failure_of_controls_is_a_sentence(case):
    call, words = BAD_CONTROLS[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_values_read_well():
    pairs = {256: "256", 0.094868: "0.0949", 1.5e-5: "1.5×10⁻⁵", 3e7: "3×10⁷", "OT": "OT"}
    assert {value: tidy(value) for value in pairs} == pairs
    assert tidy(True) == "True"


# Packing


@settings(max_examples=60)
@given(
    values=st.lists(st.floats(-50, 50), min_size=1, max_size=40),
    low=st.floats(-10, 10),
    span=st.floats(0.01, 30),
)
def test_packed_coordinates_stay_within_half_a_pixel(values, low, span):
    values, packer = np.array(values), Packer()
    spec = packer.coordinates(values, (low, low + span))
    seen = unpack(spec, bytes(packer.block))
    near = np.clip(values, low - 8 * span, low + 9 * span)
    assert np.abs(seen - near).max() <= 0.5 * span / PIXELS * (1 + 1e-6) + 1e-12
    assert spec["bytes"] == (1 if np.ptp(near) / span * PIXELS <= 255 else 2)


def test_packed_shades_stay_within_half_a_shade():
    packer = Packer()
    values = np.linspace(-2, 2, 1001)
    seen = unpack(packer.shades(values, (-1, 1)), bytes(packer.block))
    assert np.abs(seen - np.clip(values, -1, 1)).max() <= 1 / 255 + 1e-12


def test_log_axis_is_rounded_in_logarithms():
    y = np.geomspace(1e-6, 1, 50)
    shown = scene(panel(Lines(np.arange(50), y), yscale="log", ylim=(1e-6, 1)))
    limits, packer = Limits(), Packer()
    limits.see(shown)
    mark = pack_scene(shown, limits, packer)["panels"][0]["marks"][0]
    seen = 10 ** unpack(mark["y"], bytes(packer.block))
    assert np.abs(np.log10(seen / y)).max() <= 0.5 * 6 / PIXELS * 1.001


def test_equal_arrays_are_stored_once():
    packer = Packer()
    first = packer.coordinates(X[:, 0], (-4, 4))
    size = len(packer.block)
    assert packer.coordinates(X[:, 0].copy(), (-4, 4)) == first and len(packer.block) == size
    packer.coordinates(X[:, 1], (-4, 4))
    assert len(packer.block) > size


def test_signed_maps_stay_centred():
    shown = scene(panel(Heatmap([[-1.0, 3.0]], cmap="signed")))
    limits = Limits()
    limits.see(shown)
    assert limits.colour(0, 0, shown.panels[0].marks[0]) == (-3, 3)


# Static pages


def test_static_holds_every_state_of_the_grid(static):
    figure = make()
    data = data_of(figure)
    assert data["schema"] == "otlab.explore/1" and figure.states == 12
    assert set(data) == {"schema", "title", "alt", "caption", "controls", "data"}
    assert [c["texts"] for c in data["controls"]] == [
        ["16 points", "32 points", "48 points", "64 points"],
        ["0.01", "0.1", "1"],
    ]
    header, block = expand(base64.b64decode(data["data"]))
    assert len(header["states"]) == 12
    for k, state in enumerate(header["states"]):
        n, epsilon = (16, 32, 48, 64)[k // 3], (0.01, 0.1, 1.0)[k % 3]
        assert state["say"] == f"n {n}, epsilon {epsilon}"
        points = state["panels"][0]["marks"][1]
        low, high = state["panels"][0]["xlim"]
        seen = unpack(points["x"], block)
        assert np.abs(seen - X[:n, 0]).max() <= 0.51 * (high - low) / PIXELS


def test_static_axes_are_the_same_in_every_state(static):
    header, _ = expand(make().payload)
    for k in (0, 1):
        assert len({str((s["panels"][k]["xlim"], s["panels"][k]["ylim"]))
                    for s in header["states"]}) == 1


def test_static_constant_arrays_cost_nothing(static):
    def still(k):
        return scene(panel(Points(X), xlim=(-4, 4), ylim=(-4, 4)), say=str(k))

    sizes = [
        len(expand(explore(still, alt="A.", caption="B.", k=slider(0, n, 0, 1)).payload)[1])
        for n in (1, 20)
    ]
    assert sizes[0] == sizes[1]


def test_two_builds_give_the_same_bytes(static):
    assert make().html() == make().html()
    ids = [re.search(r'id="(explore-\w+)"', f.html()).group(1) for f in (make(), make(title="B"))]
    assert ids[0] != ids[1]


def test_html_stands_without_a_script(static):
    html = make(caption="a < b & c").html()
    assert 'alt="Points and segments."' in html and "a &lt; b &amp; c" in html
    assert "Shown: n = 32 points, ε = 0.1." in html
    assert html.count("</script>") == 1 and "http" not in html.split("<script")[0]


def test_closing_tags_in_texts_do_not_end_the_data(static):
    figure = make(title="</script><b>")
    assert figure.html().count("</script>") == 1
    assert data_of(figure)["title"] == "</script><b>"


def test_static_past_its_bytes_names_the_control_to_coarsen(static):
    def heavy(n, epsilon):
        rng = np.random.default_rng(n)
        return scene(panel(Points(rng.normal(size=(2000, 2)))), say=str(epsilon))

    with pytest.raises(ValueError, match=r"max_bytes is 60,000\. Coarsen n: 2 positions") as error:
        make(heavy, max_bytes=60_000)
    assert "12 states" in str(error.value)


# Modes


def test_live_computes_one_state_only(monkeypatch):
    monkeypatch.delenv("OTLAB_EXPLORE", raising=False)
    calls = []
    figure = make(lambda **values: calls.append(values) or frame(**values))
    assert calls == [{"n": 32, "epsilon": 0.1}]
    assert "<script" not in figure.html() and "<img" in figure.html()
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == "A plan: Points and segments."


def test_smoke_tries_start_and_corners(monkeypatch):
    monkeypatch.setenv("OTLAB_EXPLORE", "smoke")
    calls = []
    figure = make(lambda **values: calls.append(tuple(values.values())) or frame(**values))
    assert calls == [(32, 0.1), (16, 0.01), (64, 1.0)]
    assert "<script" not in figure.html()


def test_smoke_finds_a_failing_corner(monkeypatch):
    monkeypatch.setenv("OTLAB_EXPLORE", "smoke")

    def fails(n, epsilon):
        return frame(n, epsilon if epsilon < 1 else float("nan"))

    with pytest.raises(RuntimeError, match="At n = 64 points, ε = 1: .*not finite"):
        make(fails)


def test_with_a_kernel_the_bundle_holds_view_and_still(monkeypatch):
    module = sys.modules["otlab.lab.explore.view"]
    monkeypatch.delenv("OTLAB_EXPLORE", raising=False)
    monkeypatch.setattr(module, "_has_kernel", lambda: True)
    data, _metadata = make()._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(data)
    assert data["text/plain"] == "A plan: Points and segments."


class Probe:
    """A stand-in for the widget's comm: keeps what is sent."""

    def __init__(self, figure, monkeypatch):
        self.widget = figure.widget()
        self.sent = []
        monkeypatch.setattr(self.widget, "send",
                            lambda content, buffers: self.sent.append((content, buffers[0])))

    def ask(self, figure, *index):
        self.widget.answer(figure, {"type": "ask", "view": "v", "id": 7, "index": list(index)}, [])
        return self.sent[-1]


def test_live_answers_with_header_and_bytes(monkeypatch):
    figure = make()
    content, block = Probe(figure, monkeypatch).ask(figure, 3, 0)
    assert (content["type"], content["view"], content["id"]) == ("state", "v", 7)
    points = content["state"]["panels"][0]["marks"][1]
    assert np.abs(unpack(points["x"], block) - X[:, 0]).max() < 5e-3
    assert content["state"]["say"].startswith("n 64, epsilon 0.01")


def test_live_failure_is_a_sentence_and_the_next_move_works(monkeypatch):
    def fails(n, epsilon):
        if n == 64:
            raise FloatingPointError("the plan is empty")
        return frame(n, epsilon)

    figure = make(fails)
    probe = Probe(figure, monkeypatch)
    content, block = probe.ask(figure, 3, 0)
    assert content["error"] == "At n = 64 points, ε = 0.01: FloatingPointError: the plan is empty"
    assert block == b"" and "state" not in content
    assert "state" in probe.ask(figure, 2, 0)[0]
    assert "error" in probe.ask(figure, 2, 999)[0]  # a front end gone wrong


def test_live_remembers_states_within_bounds(monkeypatch):
    module = sys.modules["otlab.lab.explore.view"]
    monkeypatch.setattr(module, "MEMORY", 3)
    calls = []
    figure = make(lambda **values: calls.append(values) or frame(**values))
    for k in (0, 1, 2, 0, 1, 2):
        figure.live_state((1, k))
    assert len(calls) == 4  # the start, then three
    figure.live_state((1, 5))
    assert len(figure.memory) == 3
    figure.live_state((1, 0))
    assert len(calls) == 6  # the oldest had been dropped


def test_live_limits_hold_every_state_seen():
    def grows(k):
        return scene(panel(Lines([0, 1], [0, k])))

    figure = explore(grows, alt="A.", caption="B.", k=slider(1, 9, 1, 1))
    tops = [figure.live_state((k,))[0]["panels"][0]["ylim"][1] for k in (0, 8, 0)]
    assert tops[0] < tops[1] == tops[2]


# Bad input


def test_failure_names_the_nearest_argument():
    with pytest.raises(ValueError, match="no argument 'epsilom'. Did you mean 'epsilon'"):
        explore(frame, alt="A.", caption="B.", n=slider(1, 3, 1, 1), epsilom=slider(1, 3, 1, 1))


def test_failure_names_the_missing_control():
    with pytest.raises(ValueError, match="needs 'epsilon', and no control"):
        explore(frame, alt="A.", caption="B.", n=slider(1, 3, 1, 1))


@pytest.mark.parametrize("change, words", [
    ({"alt": " "}, "alt is empty"),
    ({"caption": ""}, "caption is empty"),
    ({"title": slider(1, 3, 1, 1)}, "title is its own words"),
    ({"n": 3}, "n=3 is no control"),
    ({"frame": 3}, "must be a function"),
])  # fmt: skip
def test_failure_of_arguments_is_a_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        make(**change)


def test_failure_of_the_frame_names_the_state():
    with pytest.raises(RuntimeError, match=r"At n = 32 points, ε = 0.1: .*returned NoneType; end"):
        make(lambda n, epsilon: None)
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as caught:
        make(lambda n, epsilon: 1 / 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_failure_when_panels_change_between_states(static):
    def changes(k):
        marks = [Points(X)] if k else [Points(X), Lines([0, 1], [0, 1])]
        return scene(panel(*marks, title="Pairs"))

    with pytest.raises(RuntimeError, match="At k = 1: .*panel 'Pairs' with Points, where the fir"):
        explore(changes, alt="A.", caption="B.", k=slider(0, 2, 0, 1))


def test_failure_when_limits_change_between_states(static):
    with pytest.raises(RuntimeError, match="Give every state the same"):
        explore(lambda k: scene(panel(Points(X), xlim=(-1, k))), alt="A.", caption="B.",
                k=slider(1, 3, 1, 1))


def test_failure_of_an_unknown_mode(monkeypatch):
    monkeypatch.setenv("OTLAB_EXPLORE", "statc")
    with pytest.raises(ValueError, match="'statc' is none of live, static, smoke"):
        make()


# The front end's side of the bargain


def test_scene_needs_neither_widgets_nor_jax():
    code = (
        "import sys, otlab.lab.explore.view, otlab.lab.scene.panels;"
        "print([m for m in ('anywidget', 'ipywidgets', 'jax', 'matplotlib', 'torch')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _variables(css: str, selector: str) -> dict:
    block = re.search(re.escape(selector) + r" \{(.*?)\}", css, re.S).group(1)
    return dict(re.findall(r"--ox-([\w-]+): (#\w{6})", block))


def _luminance(colour: str) -> float:
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
                 @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("selector", [".otlab-explore", ".otlab-explore.ox-dark"])
def test_colours_stand_out(selector):
    colours = _variables(explore_assets()[1], selector)
    ground = _luminance(colours["surface"])

    def contrast(name):
        pair = sorted([_luminance(colours[name]), ground])
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    for role in ("source", "target", "transported", "baseline", "plan"):
        assert contrast(role) >= 3, role
        assert contrast(role + "-text") >= 4.5, role
    for name in ("ink", "muted", "error"):
        assert contrast(name) >= 4.5, name


def test_colours_are_those_of_every_figure():
    from otlab.lab.figures import COLOURS
    from otlab.lab.scene.marks import ROLES

    light = _variables(explore_assets()[1], ".otlab-explore")
    assert set(COLOURS) == set(ROLES)
    assert {role: light[role].upper() for role in ROLES} == COLOURS


def test_colour_maps_are_those_of_the_still():
    from matplotlib import colormaps

    from otlab.lab.scene.still import SIGNED

    js = explore_assets()[0]
    cividis = "".join(re.findall(r'"([^"]*)"', re.search(r"cividis:(.*?),\n", js, re.S).group(1)))
    for i, stop in enumerate(cividis.split()):
        expected = np.array(colormaps["cividis"](i / 16)[:3]) * 255
        assert np.abs(expected - [int(stop[k : k + 2], 16) for k in (0, 2, 4)]).max() <= 1
    signed = re.search(r'signed: "(.*?)"', js).group(1).split()
    assert signed == [c.lstrip("#").lower() for c in SIGNED]


def test_the_widget_is_the_same_script(monkeypatch):
    figure = make()
    assert figure.widget()._esm.startswith(explore_assets()[0])
    assert "https://" not in explore_assets()[0] and "//cdn" not in "".join(explore_assets())


def test_numpy_scalars_travel_too(static):
    def still(k):
        cloud = Points(X, size=np.float32(2), label=np.int64(3))
        return scene(
            panel(cloud, title=np.str_("A"), xticks=np.arange(3), xlim=np.array([-4.0, 4.0])),
            Dial("E", np.float32(0.5), high=np.int64(2)),
        )

    header, _ = expand(explore(still, alt="A.", caption="B.", k=slider(0, 1, 0, 1)).payload)
    mark = header["states"][0]["panels"][0]["marks"][0]
    assert (mark["size"], mark["label"]) == (2.0, "3")
