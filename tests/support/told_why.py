"""The two tests that every file of checks for exercises has."""

import pytest


def of(check, right: dict, wrong: list):
    """(right answers pass and the line names the check, wrong ones are told why), as tests.

    check: the module. right: name of a check -> answer. wrong: (name, answer, words of the reply).
    """
    @pytest.mark.parametrize("name", right)
    def passes(name, capsys):
        getattr(check, name)(right[name])
        assert capsys.readouterr().out.startswith(f"{name}:")

    @pytest.mark.parametrize(("name", "answer", "words"), wrong)
    def told(name, answer, words):
        with pytest.raises(AssertionError, match=words):
            getattr(check, name)(answer)

    return passes, told
