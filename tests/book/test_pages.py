"""The built book as a reader meets it: no kernel, no network, any screen, any light."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from reading import chapter_pages, pages, report

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True,
         "device_scale_factor": 2}
PICTURE = """figure => [...figure.querySelectorAll('canvas')].map(c => c.toDataURL()).join()
    + [...figure.querySelectorAll('.ox-app svg')].map(s => s.outerHTML).join()
    + (figure.querySelector('[aria-live]') || {}).textContent"""


def ready(page):
    """Wait until every figure of the page answers to its sliders."""
    page.wait_for_function("""() => [...document.querySelectorAll('figure.otlab-explore')].every(
        f => f.classList.contains('ox-on') && f.querySelector('input, select'))""")


def figures_of(page):
    return page.locator("figure.otlab-explore")


def test_every_slider_moves_its_picture_by_keyboard_with_no_kernel(built_book, open_page):
    moved, still = 0, []
    for path in chapter_pages(built_book):
        page = open_page(path)
        ready(page)
        for figure in figures_of(page).all():
            for slider in figure.locator("input[type=range]").all():
                name = slider.evaluate("s => s.labels?.[0]?.textContent || s.ariaLabel || ''")
                assert name.strip(), f"{path}: a slider has no name"
                before = figure.evaluate(PICTURE)
                value, words = slider.input_value(), slider.get_attribute("aria-valuetext")
                assert words, f"{path}: {name} does not say its value"
                slider.focus()
                slider.press("ArrowRight")
                if slider.input_value() == value:  # it stood at its end
                    slider.press("ArrowLeft")
                assert slider.get_attribute("aria-valuetext") != words
                end = "End" if int(value) < int(slider.get_attribute("max")) else "Home"
                slider.press(end)
                page.wait_for_timeout(60)
                if figure.evaluate(PICTURE) == before:
                    still.append(f"{path}: {name}")
                moved += 1
        assert not page.outside and not page.errors
    assert moved, "no slider was found in any chapter"
    assert not still, f"the picture did not change: {still}"


def test_a_slider_moves_by_touch(built_book, open_page):
    page = open_page(first_with_slider(built_book), **PHONE)
    ready(page)
    slider = page.locator("figure.otlab-explore input[type=range]").first
    slider.scroll_into_view_if_needed()
    figure = slider.locator("xpath=ancestor::figure")
    before, value = figure.evaluate(PICTURE), slider.input_value()
    box = slider.bounding_box()
    ends = (box["x"] + box["width"] * 0.97, box["x"] + box["width"] * 0.03)
    for x in ends:
        page.touchscreen.tap(x, box["y"] + box["height"] / 2)
        page.wait_for_timeout(80)
        if slider.input_value() != value:
            break
    assert slider.input_value() != value
    assert figure.evaluate(PICTURE) != before


def first_with_slider(book) -> str:
    return next(p for p in chapter_pages(book) if "otlab-explore" in (book / p).read_text("utf-8"))


def test_no_page_asks_another_host(built_book, open_page):
    asked = {}
    for path in pages(built_book):
        page = open_page(path)
        page.wait_for_load_state("networkidle")
        if page.outside or page.errors:
            asked[path] = page.outside + page.errors
        page.context.close()
    assert asked == {}


def test_the_guard_sees_a_foreign_request(open_page):
    page = open_page("introduction.html")
    page.evaluate("new Image().src = 'http://example.invalid/x.png'")
    page.wait_for_timeout(200)
    assert page.outside == ["http://example.invalid/x.png"]


def serious(page, **options) -> list[str]:
    """axe-core's serious and critical findings, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    wanted = {"resultTypes": ["violations"]} | options
    found = Axe().run(page, options=wanted).response["violations"]
    return [f"{v['impact']} {v['id']}: {v['help']}: "
            + "; ".join(node["html"][:160] for node in v["nodes"][:3])
            for v in found if v["impact"] in ("serious", "critical")]


def pages_for_axe(book) -> list[str]:
    return ["introduction.html", "notation.html", "claims.html", "references.html",
            "api/couplings.html", *chapter_pages(book)]


THEME = "document.documentElement.dataset.theme"
# In the dark a page differs by its colours; the first ones are read whole there as well.
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
WHOLE = 6


@pytest.mark.parametrize("part", range(4))
def test_axe_finds_nothing_serious_in_the_light_and_in_the_dark(built_book, open_page, part):
    found = {}
    for path in pages_for_axe(built_book)[part::4]:
        page = open_page(path, color_scheme="light")
        ready(page)
        assert page.evaluate(THEME) == "light"
        problems = serious(page)
        page.add_style_tag(content="* { transition: none !important }")  # colours fade otherwise
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{THEME} === 'dark'")
        whole = pages_for_axe(built_book).index(path) < WHOLE
        problems += [f"dark: {said}" for said in serious(page, **({} if whole else COLOURS))]
        if problems:
            found[path] = problems
        page.context.close()
    assert found == {}, json.dumps(found, indent=1)


def test_axe_finds_nothing_serious_on_a_phone(built_book, open_page):
    page = open_page(first_with_slider(built_book), **PHONE)
    ready(page)
    assert serious(page) == []


def test_axe_can_fail(open_page):
    page = open_page("introduction.html", color_scheme="dark")
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', "
                  "'<button></button><img src=\"logo.png\"><p style=\"color: #333; "
                  "background: #222\">Too dark to read.</p>')")
    assert {"button-name", "image-alt", "color-contrast"} <= {
        said.split()[1].rstrip(":") for said in serious(page)}
    assert [said.split()[1] for said in serious(page, **COLOURS)] == ["color-contrast:"]


def test_no_page_is_wider_than_a_phone(built_book, open_page):
    wide = {}
    for path in pages(built_book):
        page = open_page(path, **PHONE)
        for width in (390, 360):
            page.set_viewport_size({"width": width, "height": 800})
            across = page.evaluate("Math.max(document.documentElement.scrollWidth, "
                                   "document.body.scrollWidth)")
            if across > width:
                wide[path] = across
        page.context.close()
    assert wide == {}


def test_tables_of_numbers_keep_their_columns_on_a_phone(open_page):
    page = open_page("benchmarks.html", **PHONE)
    tables = page.locator("table.otlab-numbers").all()
    assert tables
    for table in tables:
        assert table.locator("thead th").last.is_visible()
        row = [cell.bounding_box() for cell in table.locator("tbody tr").first.locator("> *").all()]
        assert len({round(box["y"]) for box in row}) == 1
        ends = [box["x"] + box["width"] for box in row]
        assert all(end <= after["x"] + 1 for end, after in zip(ends, row[1:], strict=False))
        before = "e => getComputedStyle(e, '::before').content"
        assert {cell.evaluate(before) for cell in table.locator("td").all()[:4]} == {"none"}


def test_each_page_weighs_at_most_three_megabytes(built_book, browser, address):
    """As sent, without compression; the time until sliders answer is reported, not judged."""
    heavy, numbers = {}, {}
    for path in ["introduction.html", "claims.html", *chapter_pages(built_book)]:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page, sizes = context.new_page(), {}
        page.on("requestfinished", lambda r, sizes=sizes: sizes.update({r.url: r}))
        page.goto(f"{address}/{path}", wait_until="load")
        ready(page)
        usable = page.evaluate("performance.now()")
        page.wait_for_load_state("networkidle")
        total = sum(len(request.response().body()) for request in sizes.values())
        numbers[path] = {"bytes": total, "requests": len(sizes), "usable_ms": round(usable)}
        if total > 3_000_000:
            heavy[path] = {u: len(r.response().body()) for u, r in sizes.items()}
        context.close()
    report("pages", numbers)
    print("\n" + "\n".join(f"{p}: {n['bytes'] / 1e3:,.0f} KB, usable after {n['usable_ms']} ms"
                           for p, n in numbers.items()))
    assert heavy == {}


def test_the_still_picture_stands_there_without_javascript(built_book, open_page):
    for path in chapter_pages(built_book):
        page = open_page(path, java_script_enabled=False)
        for figure in figures_of(page).all():
            still = figure.locator("img").first
            assert still.is_visible()
            box = still.bounding_box()
            assert box["width"] > 100 and box["height"] > 60
            assert len(still.get_attribute("alt").split()) >= 4
            assert figure.locator("figcaption").inner_text().strip()
            assert figure.locator("canvas").count() == 0


def test_hints_fold_without_javascript_and_open_by_keyboard(built_book, open_page):
    folded = [p for p in chapter_pages(built_book)
              if "<summary>Hint</summary>" in (built_book / p).read_text("utf-8")]
    assert folded
    page = open_page(folded[0], java_script_enabled=False)
    hint = page.locator("details:has(> summary:text-is('Hint'))").first
    inside = hint.locator(":scope > :not(summary)").first
    assert not inside.is_visible()
    hint.locator("summary").press("Enter")
    assert inside.is_visible()


def test_search_finds_words_from_any_page(open_page):
    page = open_page("notation.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("Sinkhorn")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=Sinkhorn*")
    page.wait_for_selector("#search-results li a")
    assert not page.outside and not page.errors


def test_search_finds_words_of_the_book(open_page):
    page = open_page("search.html?q=Sinkhorn")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li").count() >= 2
    assert not page.outside


def test_dark_mode_is_kept_from_page_to_page(open_page):
    page = open_page("introduction.html", color_scheme="light")
    button = page.locator("button.theme-switch-button")
    for _ in range(4):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        button.click()
        choice = page.locator("button.theme-change-button[data-mode=dark]")
        if choice.is_visible():
            choice.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(page.url.replace("introduction", "notation"))
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_code_has_a_copy_button(built_book, open_page):
    page = open_page(chapter_pages(built_book)[0])
    page.wait_for_selector("button.copybtn", state="attached")


def test_a_chapter_can_be_launched_and_downloaded(built_book, open_page):
    for path in chapter_pages(built_book):
        page = open_page(path)
        binder = page.locator("a[href*='mybinder.org']").first.get_attribute("href")
        assert binder.endswith(path.replace(".html", ".ipynb"))
        assert "colab" not in page.content().lower()
        link = page.locator("a[href*='_sources'][href$='.ipynb']").first
        href = link.evaluate("a => a.href")
        answer = page.request.get(href)
        notebook = answer.json()
        assert answer.ok and notebook["nbformat"] == 4
        assert not any("text/html" in str(output) for cell in notebook["cells"]
                       for output in cell.get("outputs", [])), "the download carries the page"


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.ids = [], set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[k] for k in ("id", "name") if values.get(k)}
        if tag == "a" and values.get("href"):
            self.found.append(values["href"])


def test_every_inner_link_leads_somewhere(built_book):
    parsed, broken = {}, []
    for path in built_book.rglob("*.html"):
        parsed[path] = Links()
        parsed[path].feed(path.read_text("utf-8"))
    for path, links in parsed.items():
        for href in links.found:
            parts = urlsplit(href)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.name}: {href}")
            elif parts.fragment and target in parsed and "_modules" not in href:
                if unquote(parts.fragment) not in parsed[target].ids:
                    broken.append(f"{path.name}: {href}")
    assert broken == []


def test_the_claims_page_shows_every_saved_claim(built_book):
    import html

    text = html.unescape((built_book / "claims.html").read_text("utf-8"))
    results = [json.loads(p.read_text()) for p in
               (built_book.parent / "chapters").glob("*/result.json")]
    claims = [claim for result in results for claim in result["claims"]]
    assert claims, "no chapter saved a claim"
    for row in (row for result in results for row in result["found"]):
        assert row["found"] in text and f">{row['standing']}</span>" in text
    for claim in claims:
        assert claim["claim"] in text
        assert f">{claim['verdict']}</span>" in text
        if claim["verdict"] == "not tested":
            assert claim["command"] in text
    assert text.count('class="otlab-footer"') == sum(
        bool(r["claims"] or r["found"]) for r in results)


def test_mathematics_was_drawn_at_build_time(built_book):
    text = (built_book / "notation.html").read_text("utf-8")
    assert text.count('class="katex"') > 15
    assert "katex-error" not in text
    for path in chapter_pages(built_book):
        body = (built_book / path).read_text("utf-8")
        assert "katex-error" not in body
        assert not re.search(r"<p>[^<]*\$\$", body), f"{path}: mathematics was left as typed"


def test_nothing_of_the_kernel_is_in_the_pages(built_book):
    for path in chapter_pages(built_book):
        text = (built_book / path).read_text("utf-8")
        for word in ("widget-view+json", "require.min.js", "jupyter-widgets", "Traceback (most"):
            assert word not in text, f"{path}: {word}"
