import functools

import jax
import pytest

from otlab.lab.checks import large_sinkhorn_couplings as check
from otlab.lab.exercises import VARIABLE, answer, attempt, run_answers


@pytest.fixture(autouse=True)
def nothing_is_asked(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    run_answers(False)


def doubles(yours, by=2):
    """A check: yours(x) is `by` times x."""
    assert yours(3) == 3 * by, f"3 becomes {yours(3)}, not {3 * by}."
    print("doubles: right for 3.")


def with_words(x):
    """Twice x."""
    ...


def with_dots(x): ...


def with_pass(x):
    pass


@jax.jit
def compiled(x):
    """Twice x."""
    ...


@pytest.mark.parametrize("yours", [with_words, with_dots, with_pass, compiled, None, ...,
                                   lambda x: None])
def test_nothing_written_is_no_failure(yours):
    box = attempt(doubles, yours)
    assert box.passed is None and "Nothing is written" in box.sentence
    assert "Yours to write" in box._repr_html_()


@pytest.mark.parametrize("yours, passed, said", [
    (lambda x: 2 * x, True, "doubles: right for 3."),
    (lambda x: x + 1, False, "3 becomes 4, not 6."),
    (lambda x: x.T, False, "AttributeError: 'int' object has no attribute 'T' (line "),
    (lambda: 6, False, "TypeError"),
    (lambda x: {}[x], False, "KeyError: 3"),
])
def test_one_box_says_how_it_went(yours, passed, said):
    box = attempt(doubles, yours)
    assert box.passed is passed and said in repr(box)


def test_the_line_is_the_readers_own():
    def yours(x):
        """Twice x."""
        nothing = None
        return nothing + x

    line = yours.__code__.co_firstlineno + 3
    assert f"(line {line} of the cell)" in attempt(doubles, yours).sentence


def test_arguments_reach_the_check():
    assert attempt(doubles, lambda x: 5 * x, by=5).passed
    assert attempt(check.power_law, 2.0, [1.0, 2.0, 4.0], [1.0, 0.25, 0.0625]).passed


def test_text_is_escaped():
    assert "&lt;T, P&gt;" in attempt(functools.partial(fails, "<T, P>"), lambda: 1)._repr_html_()


def fails(sentence, yours):
    raise AssertionError(sentence)


def test_answers_wait_until_asked(capsys, monkeypatch):
    ran = []

    def solve():
        @answer(doubles)
        def twice(x):
            ran.append(x)
            return 2 * x

        return twice

    assert solve()(1) == 2 and ran == [1]
    assert "twice waits: run_answers(True)" in capsys.readouterr().out
    run_answers(True)
    solve()
    assert 3 in ran and "right for 3" in capsys.readouterr().out
    run_answers(False)
    monkeypatch.setenv(VARIABLE, "1")  # tests and the book: whatever the switch says
    solve()
    assert "right for 3" in capsys.readouterr().out


def test_wrong_answers_fail_when_asked_and_only_then(monkeypatch):
    def solve():
        @answer(doubles, by=3)
        def twice(x):
            return 2 * x

        @answer()
        def experiment():
            raise AssertionError("it came out otherwise")

    solve()
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(AssertionError, match="not 9"):
        solve()


def test_experiments_are_called_and_shown(monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "1")

    @answer()
    def experiment():
        return "forty-two"

    assert "forty-two" in capsys.readouterr().out
    with pytest.raises(TypeError, match="takes arguments"):
        answer()(doubles)
