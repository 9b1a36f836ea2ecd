"""A guess before the answer: the choice locks, the picture appears, and the end tells it again."""

import functools
import hashlib
import html
from collections.abc import Sequence
from importlib import resources

from otlab.lab.figures.shown import Figure, require_sentence, show


@functools.cache
def _assets() -> tuple[str, str]:
    folder = resources.files("otlab.lab.figures") / "static"
    return tuple((folder / f"guess.{kind}").read_text("utf-8") for kind in ("js", "css"))


class Guess:
    """A question that hides its answer until the reader has chosen; made by `guess`."""

    def __init__(self, question: str, options: list[str], answer: int, say: str, figure: Figure):
        self.question, self.options, self.answer = question, options, answer
        self.say, self.figure = say, figure
        told = "\n".join([question, *options])
        self.name = f"guess-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(),
                "text/plain": f"{self.question} ({' / '.join(self.options)})"}

    def html(self) -> str:
        """Question, options, and the answer folded; the script locks the first choice.

        Without JavaScript the answer stands in a fold that the reader opens.
        """
        js, css = _assets()
        buttons = "".join(f'<button type="button" aria-pressed="false">{html.escape(o)}</button>'
                          for o in self.options)
        return (f'<section class="otlab-guess" {self._data()} '
                f'aria-labelledby="{self.name}"><style>{css}</style>'
                f'<p class="otlab-question" id="{self.name}"><strong>Your guess.</strong> '
                f'{html.escape(self.question)}</p>'
                f'<div class="otlab-options" role="group" aria-labelledby="{self.name}" hidden>'
                f'{buttons}</div><p class="otlab-told" role="status"></p>'
                f'<details><summary>What was measured</summary><p>{html.escape(self.say)}</p>'
                f'{self.figure.html()}</details><script>{js}</script></section>')

    def again(self) -> "Again":
        """The question, the reader's guess and what was measured, for the end of the chapter."""
        return Again(self)

    def _data(self) -> str:
        words = {"name": self.name, "answer": self.options[self.answer]}
        return " ".join(f'data-{k}="{html.escape(v, quote=True)}"' for k, v in words.items())


class Again:
    """What `Guess.again` shows: it follows the choice made above, now or later."""

    def __init__(self, question: Guess):
        self.question = question

    def _repr_mimebundle_(self, include=None, exclude=None):
        q = self.question
        plain = f"{q.question} {q.say}"
        js, css = _assets()
        body = (f'<section class="otlab-guess otlab-again" {q._data()}><style>{css}</style>'
                f'<p><strong>Your guess at the start.</strong> {html.escape(q.question)} '
                f'<span class="otlab-told" role="status">You made none.</span> '
                f'{html.escape(q.say)}</p><script>{js}</script></section>')
        return {"text/html": body, "text/plain": plain}


def guess(question: str, options: Sequence[str], *, answer: str, say: str, reveal, alt: str,
          caption: str) -> Guess:
    """End a cell with this: a prediction that the reader commits to before the picture is shown.

    Args:
        question: one sentence.
        options: two to six short answers.
        answer: the option that the measurement supports, chosen by code:
            ``options[number_that_waste]``.
        say: what was measured, a sentence; stands above the picture and is told at the end.
        reveal: the picture: a Matplotlib figure, or a `scene`.
        alt: what the picture shows, for who does not see it.
        caption: the finding, then how to read the picture.

    Returns:
        An object that a notebook displays. Its `again()` ends the chapter.

    Raises:
        ValueError: for too few options, an answer that is none of them, or missing words.
    """
    options = [str(o) for o in options]
    if not 2 <= len(options) <= 6 or len(set(options)) != len(options):
        raise ValueError(f"guess: options are two to six different answers; got {options}.")
    if str(answer) not in options:
        raise ValueError(f"guess: answer={answer!r} is none of the options {options}.")
    require_sentence("question", question)
    require_sentence("say", say)
    return Guess(question, options, options.index(str(answer)), say,
                 _figure(reveal, alt, caption))


def _figure(reveal, alt: str, caption: str) -> Figure:
    if hasattr(reveal, "savefig"):
        return show(reveal, alt=alt, caption=caption)
    if not hasattr(reveal, "panels"):
        raise ValueError("guess: reveal is a Matplotlib figure or a scene; got "
                         f"{type(reveal).__name__}.")
    from otlab.lab.explore.pack import Limits
    from otlab.lab.scene.still import draw_still

    require_sentence("alt", alt)
    require_sentence("caption", caption)
    limits = Limits()
    limits.see(reveal)
    still = draw_still(reveal, limits)
    return Figure(still.png, alt, caption, still.width)
