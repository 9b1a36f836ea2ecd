import chromium
import matplotlib.pyplot as plt
import pytest

from otlab.lab import figures
from otlab.lab.scene import Bars, panel, scene

WORDS = {"alt": "Four bars, two of them tall.", "caption": "Turn and mirror waste something.",
         "say": "Two of the four waste something."}


def made(answer="two", reveal=None, **changed):
    if reveal is None:
        with figures.style():
            reveal, ax = plt.subplots(figsize=(4, 2))
        ax.bar(["shift", "turn"], [0, 4])
    return figures.guess("How many of the four waste anything?", ["none", "one", "two"],
                         answer=answer, reveal=reveal, **WORDS | changed)


def test_the_answer_is_folded_where_no_script_runs():
    text = made().html()
    inside = text.split("<details>")[1].split("</details>")[0]
    assert WORDS["say"] in inside and WORDS["caption"] in inside and f'"{WORDS["alt"]}"' in inside
    assert WORDS["say"] not in text.replace(inside, "") and "<details open" not in text
    plain = made()._repr_mimebundle_()["text/plain"]
    assert plain == "How many of the four waste anything? (none / one / two)"


def test_a_scene_may_be_revealed():
    bars = scene(panel(Bars([0.0, 4.0], ["shift", "turn"], role="transported"), title="Waste"))
    assert "data:image/png" in made(reveal=bars).html()


def test_the_guess_survives_another_result():
    assert made("two").name == made("one", say="One of the four wastes.").name


@pytest.mark.parametrize("changed, said", [
    ({"answer": "three"}, "none of the options"), ({"say": "Two."}, "say must be a sentence"),
    ({"caption": "Bars"}, "caption must be"), ({"reveal": "picture.png"}, "got str")])
def test_failure_sentences(changed, said):
    with pytest.raises(ValueError, match=said):
        made(**changed)
    plt.close("all")


@pytest.mark.browser
def test_the_choice_locks_shows_the_picture_and_is_told_at_the_end(tmp_path):
    question = made()
    page_file = tmp_path / "page.html"
    page_file.write_text('<!doctype html><meta charset="utf-8"><title>Guess</title>'
                         + question.html() + question.again()._repr_mimebundle_()["text/html"],
                         "utf-8")
    with chromium.started(tmp_path / "home") as browser:
        page = browser.new_page(viewport={"width": 375, "height": 700})
        page.goto(page_file.as_uri())
        end = page.locator(".otlab-again")
        assert "You made none." in end.inner_text() and not page.locator("img").is_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # the second option, without a mouse
        assert page.locator("img").is_visible() and WORDS["say"] in page.inner_text("body")
        told = "You guessed “one”; measured: “two”."
        assert told in end.inner_text() and told in page.locator(".otlab-told").first.inner_text()
        page.locator("button", has_text="two").click(force=True)  # too late
        assert told in end.inner_text()
        pressed = page.locator('button[aria-pressed="true"]')
        assert pressed.count() == 1 and pressed.inner_text() == "one"
        marks = page.locator("button").evaluate_all(
            "all => all.map(b => getComputedStyle(b, '::before').content[1])")
        assert marks[1:] == ["✗", "✓"] and marks[0] not in ("✗", "✓")  # chosen, measured
        page.reload()
        assert told in page.locator(".otlab-again").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
