"""Sliders in a real browser: a page from a file, with no kernel, no server and no network."""

import numpy as np
import pytest

from otlab.lab.explore import choice, explore, explore_assets, log_slider, slider
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
    Segments,
    Text,
    panel,
    scene,
)

pytestmark = pytest.mark.browser

X = np.random.default_rng(0).normal(size=(80, 2))
DRAWN = "figure[data-drawn]:not([data-drawn='0'])"


def clouds(n, epsilon):
    x, y = X[:n], X[:n] + 1 + epsilon
    return scene(
        panel(
            Segments(x, y, value=x[:, 0] ** 2, label="cost"),
            Points(x, label="noise"),
            Points(y, role="target", label="data"),
            title="Pairs",
            equal=True,
        ),
        panel(
            Lines([1, 2, 4, 8], np.array([4, 3, 2, 1.5]) * epsilon, label="OT",
                  band=(np.array([3, 2, 1, 1]) * epsilon, np.array([5, 4, 3, 2]) * epsilon)),
            Lines([1, 2, 4, 8], [4, 3, 3, 3], role="baseline", label="independent"),
            Rule(y=0.1, label="floor"),
            title="Quality",
            xlabel="Euler steps",
            ylabel="energy distance",
            xscale="log",
            yscale="log",
        ),
        panel(Heatmap(np.exp(-np.subtract.outer(x[:, 0], y[:, 0]) ** 2 / epsilon), label="mass"),
              title="Plan"),
        Dial("sharpness", 1 - epsilon / 2, target=0.9),
        Text("solver", f"{n} iterations"),
        say=f"{n} points at {epsilon:.2f}.",
    )  # fmt: skip


def pictures(seed, coupling):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(-1, 2)
    names = ["independent", "small batch", "large batch"]
    height = rng.random(3) + (coupling == "OT")
    return scene(
        panel(Images(rng.uniform(-1, 1, (6, 8, 8)), columns=3, labels="abcdef"), title="Digits"),
        panel(Heatmap(rng.normal(size=(9, 9)), cmap="signed", extent=(0, 4, 0, 4)),
              Arrows(grid, rng.normal(size=grid.shape) / 3), title="Field", equal=True),
        panel(Paths(np.stack([X, X / 2, X * 0], 1), value=X[:, 0]), Labels([[0, 0]], ["end"])),
        panel(Bars(height, names, label="OT", interval=(height - 0.1, height + 0.1)),
              title="Distance"),
        say=f"Seed {seed}.",
    )  # fmt: skip


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTLAB_EXPLORE", "static")
        return (
            explore(clouds, title="A plan", alt="Pairs, quality and plan.", caption="It sharpens.",
                    n=slider(20, 80, 60, 20, label="batch size n", unit="points"),
                    epsilon=log_slider(0.01, 1, 0.1, 5, label="ε / std(C)")),
            explore(pictures, title="The rest", alt="Digits, a field and bars.", caption="More.",
                    seed=slider(0, 3, 0, 1), coupling=choice(["independent", "OT"])),
        )  # fmt: skip


@pytest.fixture(scope="module")
def write(figures, tmp_path_factory):
    """Write the page with these attributes and head; its address."""

    def page(attributes="", head=""):
        js, css = explore_assets()
        body = "".join(figure.html() for figure in figures)
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(
            f'<!doctype html><html lang="en" {attributes}><head><meta charset="utf-8">'
            '<title>Page</title><meta name="viewport" content="width=device-width">'
            f"<style>body {{ margin: 0 auto; max-width: 880px; padding: 8px }} {css}</style>{head}"
            f"</head><body><main><h1>Page</h1>{body}</main><script>{js}</script></body></html>",
            encoding="utf-8",
        )
        return path.as_uri()

    return page


@pytest.fixture
def visit(browser, write):
    """Open the page in a fresh window; problems and requests are kept on it."""
    contexts = []

    def open_page(attributes="", **settings):
        settings = {"viewport": {"width": 1000, "height": 900}} | settings
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.problems, page.requests = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(write(attributes))
        if settings.get("java_script_enabled", True):
            page.wait_for_selector(f"{DRAWN} >> nth=1")
        return page

    yield open_page
    for context in contexts:
        context.close()


def pixels(page, at=0):
    return page.locator("canvas").nth(at).evaluate("c => c.toDataURL()")


def press(page, slider, key):
    """Press a key on a control and wait for the next picture."""
    figure = slider.locator("xpath=ancestor::figure")
    drawn = int(figure.get_attribute("data-drawn"))
    slider.press(key)
    page.wait_for_function(
        "([f, n]) => Number(f.dataset.drawn) > n", arg=[figure.element_handle(), drawn]
    )


def test_keys_move_the_picture(visit):
    page = visit()
    control = page.get_by_role("slider", name="batch size n")
    assert control.get_attribute("aria-valuetext") == "60 points"
    before = pixels(page)
    press(page, control, "ArrowRight")
    assert control.get_attribute("aria-valuetext") == "80 points"
    assert pixels(page) != before
    press(page, control, "Home")
    assert control.get_attribute("aria-valuetext") == "20 points"
    press(page, control, "End")
    press(page, control, "ArrowLeft")
    assert pixels(page) == before
    assert float(page.locator("figure").first.get_attribute("data-latency")) >= 0
    assert page.problems == []


def test_joint_sliders_keep_each_others_state(visit):
    page = visit()
    figure = page.locator("figure").first
    n, epsilon = (page.get_by_role("slider", name=name) for name in ("batch size n", "ε"))
    press(page, n, "Home")
    press(page, epsilon, "End")
    assert figure.get_attribute("data-state") == "0,4"
    assert n.get_attribute("aria-valuetext") == "20 points"
    press(page, n, "ArrowRight")
    assert figure.get_attribute("data-state") == "1,4"
    assert page.get_by_role("meter").get_attribute("aria-valuetext") == "0.5 target 0.9"
    page.get_by_text("40 iterations").wait_for()
    page.get_by_text("40 points at 1.00.").wait_for(state="attached")


def test_reset_and_choice(visit):
    page = visit()
    figure = page.locator("figure").nth(1)
    reset = figure.get_by_role("button", name="Reset")
    assert reset.is_disabled()
    option = figure.get_by_role("radio", name="OT")
    option.check()
    page.wait_for_function("document.querySelectorAll('figure')[1].dataset.state === '0,1'")
    press(page, figure.get_by_role("slider"), "End")
    reset.click()
    page.wait_for_function("document.querySelectorAll('figure')[1].dataset.state === '0,0'")
    assert not option.is_checked() and reset.is_disabled()


def test_the_mouse_and_the_finger_move_a_slider(visit):
    for touch in (False, True):
        page = visit(has_touch=touch)
        box = page.get_by_role("slider", name="batch size n").bounding_box()
        where = (box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
        (page.touchscreen.tap if touch else page.mouse.click)(*where)
        page.wait_for_function("document.querySelector('figure').dataset.state === '3,2'")


def test_every_panel_is_drawn(visit):
    page = visit()
    inked = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width,"
    inked += " c.height).data.buffer)).size"
    counts = [canvas.evaluate(inked) for canvas in page.locator("canvas").all()]
    assert len(counts) == 7 and min(counts) > 20


def test_no_request_leaves_the_page(visit):
    page = visit()
    press(page, page.get_by_role("slider", name="ε"), "Home")
    outside = [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert len(page.requests) >= 1 and outside == []


def test_a_phone_needs_no_sideways_scrolling(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lefts = {round(c.bounding_box()["x"]) for c in page.locator("canvas").all()}
    assert len(lefts) == 1  # under each other
    for role in ("slider", "button"):
        for control in page.get_by_role(role).all():
            assert control.bounding_box()["height"] >= 44, role
    for option in page.locator(".ox-option").all():
        assert option.bounding_box()["height"] >= 44


def test_a_wide_page_shows_panels_side_by_side(visit):
    page = visit()
    tops = [round(c.bounding_box()["y"]) for c in page.locator("figure >> nth=0 >> canvas").all()]
    assert len(tops) == 3 and len(set(tops)) == 1


def surface(page):
    return page.locator("figure").first.evaluate("f => getComputedStyle(f).backgroundColor")


@pytest.mark.parametrize("attributes, scheme, dark", [
    ("", "light", False),
    ("", "dark", True),
    ('data-theme="dark"', "light", True),
    ('data-theme="light"', "dark", False),
])  # fmt: skip
def test_dark_mode_follows_the_page_then_the_system(visit, attributes, scheme, dark):
    page = visit(attributes, color_scheme=scheme)
    assert (surface(page) != "rgb(255, 255, 255)") is dark


def test_dark_mode_follows_at_once(visit):
    page = visit('data-theme="light"')
    before = pixels(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_selector("figure.ox-dark")
    assert pixels(page) != before and surface(page) != "rgb(255, 255, 255)"
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")  # JupyterLab has the last word
    page.wait_for_selector("figure:not(.ox-dark)")
    assert pixels(page) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_axe_finds_no_violation(visit, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 900})
    found = axe.run(page).response["violations"]
    # The bare page around the figures stays white in dark mode; it is not ours.
    assert [(v["id"], v["impact"]) for v in found] == []


def test_without_javascript_the_still_stands(visit):
    page = visit(java_script_enabled=False)
    still = page.get_by_role("img", name="Pairs, quality and plan.")
    assert still.is_visible() and still.bounding_box()["height"] > 100
    assert page.get_by_text("It sharpens.").is_visible()
    assert page.get_by_text("Shown: batch size n = 60 points").is_visible()
    assert page.get_by_role("slider").count() == 0


def test_on_paper_the_still_stands(visit):
    page = visit()
    assert not page.locator("img.otlab-still").first.is_visible()
    page.emulate_media(media="print")
    assert page.locator("img.otlab-still").first.is_visible()
    assert not page.get_by_role("slider").first.is_visible()
    assert not page.locator("canvas").first.is_visible()


def test_keys_do_not_reach_the_notebook_around(visit):
    page = visit()
    page.evaluate("window.heard = []; addEventListener('keydown', e => heard.push(e.key))")
    control = page.get_by_role("slider", name="batch size n")
    for key in ("ArrowLeft", "PageUp", "Home", "a"):
        control.press(key)
    assert page.evaluate("heard") == ["a"]


LIVE = """
([spec, states]) => {
  window.sent = [];
  const heard = [];
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const traits = { spec, first: JSON.stringify(states[0][0]), first_bytes: bytes(states[0][1]) };
  const model = { get: (name) => traits[name], send: (message) => sent.push(message),
                  on: (_, f) => heard.push(f), off: () => heard.pop() };
  window.reply = (extra) => {
    const last = sent[sent.length - 1];
    const [state, block] = states[last.index[0]];
    heard[0]({ type: "state", view: last.view, id: last.id, ms: 1, state, ...extra },
             [bytes(block)]);
  };
  const el = document.createElement("div");
  el.id = "live";
  document.body.append(el);
  window.stop = otlabExplore.render({ model, el });
}
"""


def test_live_has_one_request_under_way_and_the_newest_next(visit):
    import base64

    figure = explore(
        lambda k: scene(panel(Points(X + k), xlim=(-5, 12), ylim=(-5, 12)), say=str(k)),
        title="Live", alt="A cloud.", caption="It moves.", k=slider(0, 8, 0, 1),
    )  # fmt: skip
    states = []
    for k in range(9):
        header, block = figure.live_state((k,))
        states.append([header, base64.b64encode(block).decode()])
    page = visit()
    page.evaluate(LIVE, [figure.spec(live=True), states])
    root = page.locator("#live figure")
    control = root.get_by_role("slider")
    canvas = root.locator("canvas")
    first = canvas.evaluate("c => c.toDataURL()")
    for _ in range(5):
        control.press("ArrowRight")
    assert [m["index"] for m in page.evaluate("sent")] == [[1]]  # four moves wait, as one
    page.evaluate("reply({})")
    assert [m["index"] for m in page.evaluate("sent")] == [[1], [5]]
    assert root.get_attribute("data-state") == "1"
    page.evaluate("reply({error: 'At k = 5: it failed.'})")
    assert root.get_by_role("alert").inner_text() == "At k = 5: it failed."
    assert root.locator(".ox-stale").count() == 1
    control.press("Home")
    page.evaluate("reply({})")
    assert not root.locator(".ox-error").is_visible()
    assert root.get_attribute("data-state") == "0"
    assert canvas.evaluate("c => c.toDataURL()") == first
    page.evaluate("stop()")
    assert page.problems == []
