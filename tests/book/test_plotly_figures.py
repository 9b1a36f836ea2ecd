"""Turnable figures of the built book: a still until one is near, then keys turn the globe."""

import re

from reading import ROOT, chapter_pages

GLOBE = "figure.otlab-plotly"
EYE = "f => JSON.stringify(f.querySelector('.otlab-plot').layout.scene.camera.eye)"


def with_globe(book) -> list[str]:
    return [p for p in chapter_pages(book) if "otlab-plotly" in (book / p).read_text("utf-8")]


def shown(page):
    """Scroll to the globe and wait until plotly has drawn it, by WebGL in software if need be."""
    assert page.evaluate("!!document.createElement('canvas').getContext('webgl')")
    globe = page.locator(GLOBE).first
    globe.scroll_into_view_if_needed()
    page.wait_for_selector(f"{GLOBE}.on .otlab-plot-controls input")
    return globe


def test_the_vendored_script_is_the_one_that_python_writes_for():
    import plotly.offline

    wanted = re.search(r"v(\d+\.\d+\.\d+)", plotly.offline.get_plotlyjs()[:400])[1]
    script = ROOT / "jupyter_book" / "_static" / "plotly" / "plotly-gl3d.min.js"
    assert f"v{wanted}" in script.read_text("utf-8")[:400]


def test_without_javascript_the_still_stands_there(built_book, open_page):
    for path in with_globe(built_book):
        page = open_page(path, java_script_enabled=False)
        still = page.locator(f"{GLOBE} img").first
        assert still.is_visible() and len(still.get_attribute("alt").split()) >= 4
        assert not page.locator(f"{GLOBE} .otlab-plot").first.is_visible()


def test_plotly_waits_until_the_globe_is_near_and_keys_move_it(built_book, open_page):
    paths = with_globe(built_book)
    assert paths
    for path in paths:
        page, asked = open_page(path), []
        page.on("request", lambda r, asked=asked: asked.append(r.url))
        assert page.locator(f"{GLOBE}.on").count() == 0
        globe = shown(page)
        assert any("plotly-gl3d" in url for url in asked)
        assert len(globe.locator(".otlab-plot").get_attribute("aria-label").split()) >= 4
        for slider in globe.locator("input[type=range]").all():
            words, eye = slider.get_attribute("aria-valuetext"), globe.evaluate(EYE)
            visible = "f => f.querySelector('.otlab-plot').data.map(t => t.visible).join()"
            traces = globe.evaluate(visible)
            slider.focus()
            slider.press("ArrowLeft")
            page.wait_for_timeout(500)
            assert slider.get_attribute("aria-valuetext") != words
            assert globe.evaluate(EYE) != eye or globe.evaluate(visible) != traces
        assert not page.outside and not page.errors
