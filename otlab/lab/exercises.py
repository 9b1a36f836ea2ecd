"""Exercises in a chapter: a cell to write in, its check in one box, an answer that waits."""

import contextlib
import dis
import html
import inspect
import io
import os
from collections.abc import Callable

VARIABLE = "OTLAB_ANSWERS"
_switch = {"on": False}
_EMPTY = {"RESUME", "NOP", "COPY_FREE_VARS", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


class Box:
    """What `attempt` shows: one sentence, and whether the answer passed. None: not written."""

    def __init__(self, passed: bool | None, sentence: str):
        self.passed, self.sentence = passed, sentence

    @property
    def title(self) -> str:
        """Passed, Not yet, or Yours to write."""
        return {None: "Yours to write", False: "Not yet", True: "Passed"}[self.passed]

    def __repr__(self) -> str:
        return f"{self.title}. {self.sentence}"

    def _repr_html_(self) -> str:
        mark = {None: "…", False: "✗", True: "✓"}[self.passed]
        colour = {None: "#5b6570", False: "#D55E00", True: "#009E73"}[self.passed]
        style = (f"color:var(--pst-color-text-base,inherit);border-left:4px solid {colour};"
                 "padding:0.4rem 0.9rem")
        return (f'<div class="otlab-attempt" role="status" style="{style}"><strong>{mark} '
                f"{self.title}.</strong> {html.escape(self.sentence)}</div>")


def attempt(check: Callable, yours, *arguments, **settings) -> Box:
    """End the cell that the reader writes in with this: their answer's check, in one box.

    Args:
        check: a check of `otlab.lab`, called as ``check(yours, *arguments, **settings)``.
        yours: the reader's function, or a value that it returned. A function that holds only
            its docstring and ``...``, or None for a value, is not written yet.

    Returns:
        A box that says that nothing is written yet, which property fails, what the code raised
        and where, or what passed. It never raises what the reader's code or the check raises.
    """
    name = getattr(yours, "__name__", "your answer")
    if yours is None or yours is ... or (callable(yours) and _unwritten(yours)):
        return Box(None, f"Nothing is written in {name} yet. Replace the three dots, then run "
                         "this cell again.")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            check(yours, *arguments, **settings)
    except AssertionError as failed:
        said = str(failed) or "a property fails, and its check does not say which."
        return Box(False, said[0].upper() + said[1:])
    except Exception as error:  # whatever the reader's code raises becomes a sentence
        return Box(False, f"{type(error).__name__}: {error}{_where(error, yours)}")
    told = " ".join(printed.getvalue().split())
    return Box(True, told or f"{name} has every property asked for.")


def run_answers(on: bool) -> None:
    """Whether answers run when their cells do: the switch at the head of a chapter's exercises.

    They wait by default, so that Run All spoils nothing. Tests and the book set OTLAB_ANSWERS=1,
    which runs them whatever the switch says.
    """
    _switch["on"] = bool(on)


def answer(check: Callable | None = None, /, *arguments, **settings):
    """Decorate an answer: it runs only when asked, and then it must pass.

    ``@answer(check.sharpness)`` hands the function to a check, with further arguments if any;
    ``@answer()``, on a function without arguments, calls it: an experiment that asserts, whose
    result is shown. Until `run_answers` or OTLAB_ANSWERS=1 asks, the function is only defined,
    and one line says so.

    Raises:
        AssertionError: when the answer is asked to run and fails.
        TypeError: for an experiment that takes arguments.
    """
    def decorate(function):
        if check is None and inspect.signature(function).parameters:
            raise TypeError(f"@answer() calls {function.__name__}(), and it takes arguments. Name "
                            "its check, @answer(check.…), or let it take none.")
        if not (_switch["on"] or os.environ.get(VARIABLE, "0") not in ("", "0")):
            print(f"{function.__name__} waits: run_answers(True) above, then this cell, runs it.")
        elif check is None:
            _show(function())
        else:
            check(function, *arguments, **settings)
        return function

    return decorate


def _show(result) -> None:
    if result is not None:
        from IPython.display import display

        display(result)


def _unwritten(function: Callable) -> bool:
    """Whether the body is a docstring and three dots, or pass."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    returned = [s.argval for s in steps if s.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {s.opname for s in steps} <= _EMPTY and returned == [None]


def _where(error: Exception, yours) -> str:
    """The line of the reader's own code that raised, when it did."""
    code = getattr(inspect.unwrap(yours), "__code__", None) if callable(yours) else None
    trace, line = error.__traceback__, None
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" (line {line} of the cell)"
