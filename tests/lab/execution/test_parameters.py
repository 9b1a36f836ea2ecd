"""Parameters: names, types and literals, before any kernel."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlab.lab.execution.parameter_cell import read_parameters
from otlab.lab.execution.parameters import (
    Parameter,
    ParameterError,
    check_parameters,
    effective_budget,
    parse_pairs,
    split_values,
)

CELL = '''"""What this chapter turns on."""
epsilon = 0.1  # units of std(C)
n: int = 64
m: int | None = None
sizes = [16, 64.0]
cost = "dot"  # dot | l2: the cost
note = "a # b"
flag = False
budget = "page"  # smoke | page | paper
'''
KNOWN = read_parameters(CELL, ['table = {"smoke": 1, "page": 2}'])
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def parse(pair):
    return parse_pairs(KNOWN, [pair])


def test_the_cell_is_read_in_order_with_types_comments_and_choices():
    assert {p.name: p.type for p in KNOWN.values()} == {
        "epsilon": "float", "n": "int", "m": "int | None", "sizes": "list[float]", "cost": "str",
        "note": "str", "flag": "bool", "budget": "str"}
    assert KNOWN["epsilon"].comment == "units of std(C)"
    assert KNOWN["note"].comment == "" and KNOWN["note"].default == "a # b"
    assert KNOWN["cost"].choices == ("dot", "l2")
    assert KNOWN["budget"].choices == ("smoke", "page")


@pytest.mark.parametrize("cell", ["n = 2 * 3", "n = f()", "import os", "a, b = 1, 2", "n: int",
                                  "n += 1", "n ="])
def test_failure_a_cell_of_more_than_literals(cell):
    with pytest.raises(ParameterError, match="literal"):
        read_parameters(cell)


def test_budgets_default_to_the_comment_and_then_to_all():
    cell = 'budget = "page"  # smoke | page'
    assert read_parameters(cell)["budget"].choices == ("smoke", "page")
    assert "paper" in read_parameters('budget = "page"')["budget"].choices
    code = ["%%time\nx = 1", "t = dict(smoke=1, page=2, long=3)", "other = {'smoke': 1, 'a': 2}"]
    assert read_parameters(cell, code)["budget"].choices == ("smoke", "page", "long")


@given(FINITE)
def test_oracle_floats_come_back_from_their_text(value):
    assert parse(f"epsilon={value!r}") == {"epsilon": value}


@given(st.integers(min_value=-10**15, max_value=10**15))
def test_oracle_whole_numbers_serve_as_int_and_as_float(value):
    assert parse(f"n={value}") == {"n": value}
    fitted = parse(f"epsilon={value}")["epsilon"]
    assert type(fitted) is float and fitted == value


@given(st.lists(st.one_of(FINITE, st.integers(-1000, 1000)), max_size=5))
def test_oracle_lists_come_back_as_floats(values):
    fitted = parse(f"sizes={values!r}")["sizes"]
    assert fitted == [float(v) for v in values] and all(type(v) is float for v in fitted)


@given(st.text(min_size=1).filter(lambda s: s.strip() == s and s[0] not in "'\""))
def test_oracle_text_is_taken_as_it_is(value):
    assert parse(f"note={value}") == {"note": value}


@given(st.text())
def test_oracle_quoted_text_is_unquoted(value):
    assert parse(f"note={value!r}") == {"note": value}


@given(st.one_of(st.text(), st.booleans(), st.none(), st.lists(st.integers()), st.binary(),
                 st.complex_numbers(), st.just(math.inf), st.just(math.nan)))
def test_failure_nothing_but_finite_numbers_is_a_float(value):
    with pytest.raises(ParameterError, match="epsilon wants a finite number, such as epsilon=0.1"):
        KNOWN["epsilon"].check(value)


@given(st.text(alphabet="[](){},'\"\\0123456789eE+-.#ab \n_", max_size=30))
def test_failure_of_parsing_is_always_a_sentence(text):
    for name in ("epsilon", "n", "sizes", "flag", "m"):
        try:
            fitted = KNOWN[name].parse(text)
        except ParameterError as error:
            assert name in str(error)
        else:
            assert KNOWN[name].check(fitted) == fitted


@pytest.mark.parametrize("pair, said", [
    ("n=1e3", "n wants a whole number"), ("n=2.0", "n wants a whole number"),
    ("n=true", "n wants a whole number"), ("flag=1", "flag wants true or false"),
    ("epsilon=nan", "finite"), ("epsilon=-inf", "finite"), ("epsilon=1e999", "finite"),
    ("sizes=3", r"list\[float\]"), ("sizes=[1,'a']", r"list\[float\]"), ("m=1.5", "int | None"),
    ("cost=l3", "cost is one of dot, l2; got 'l3'"), ("budget=paper", "one of smoke, page"),
    ("epsilo=1", "no parameter 'epsilo'; did you mean 'epsilon'"), ("zz=1", "known: epsilon, n"),
    ("epsilon", "name=value"), ("=3", "name=value"), ("epsilon=", "name=value"),
])
def test_failure_says_what_is_wanted(pair, said):
    with pytest.raises(ParameterError, match=said):
        parse(pair)


@pytest.mark.parametrize("pair, value", [("m=none", None), ("m=3", 3), ("flag=TRUE", True),
                                         ("flag=False", False), ("cost='l2'", "l2")])
def test_words_for_none_and_truth(pair, value):
    assert list(parse(pair).values()) == [value]


def test_failure_a_name_given_twice():
    with pytest.raises(ParameterError, match="n is given twice"):
        parse_pairs(KNOWN, ["n=1", "n=2"])


def test_check_fills_defaults_and_takes_numpy_scalars():
    np = pytest.importorskip("numpy")
    values = check_parameters(KNOWN, {"n": np.int64(8), "epsilon": 1}, budget="smoke")
    assert list(values) == list(KNOWN)
    assert (values["n"], type(values["n"]), values["epsilon"]) == (8, int, 1.0)
    assert values["budget"] == "smoke" and values["cost"] == "dot"


def test_failure_of_check_unknown_and_contradicting_budget():
    with pytest.raises(ParameterError, match="large has no parameter 'eps'"):
        check_parameters(KNOWN, {"eps": 1}, chapter="large")
    with pytest.raises(ParameterError, match="twice: 'page' and 'smoke'"):
        check_parameters(KNOWN, {"budget": "smoke"}, budget="page")
    with pytest.raises(ParameterError, match="no parameter 'budget'"):
        check_parameters({"n": Parameter("n", 1, "int")}, {}, budget="page")


@given(st.lists(st.one_of(FINITE, st.lists(st.integers(), max_size=3), st.booleans(),
                          st.text(alphabet="abc,[] ", min_size=1)), min_size=1, max_size=6))
def test_invariant_a_grid_splits_into_its_values(values):
    assert split_values(",".join(map(repr, values))) == [repr(v) for v in values]


def test_failure_an_unknown_budget_in_the_environment(monkeypatch):
    monkeypatch.setenv("OTLAB_BUDGET", "bogus")
    with pytest.raises(ParameterError, match="OTLAB_BUDGET is one of smoke, .*got 'bogus'"):
        check_parameters(KNOWN, {})


def test_the_environment_lowers_a_budget_and_never_raises_it(monkeypatch):
    monkeypatch.setenv("OTLAB_BUDGET", "smoke")
    assert effective_budget("page") == "smoke"
    monkeypatch.setenv("OTLAB_BUDGET", "paper")
    assert effective_budget("page") == "page"
    monkeypatch.delenv("OTLAB_BUDGET")
    assert effective_budget("page") == "page" and effective_budget(None) is None
