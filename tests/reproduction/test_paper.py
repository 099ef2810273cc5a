"""Verdicts follow from claims and checks, and every statement is tied to ones that exist."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import localgrad.reproduction
from localgrad.reproduction import catalogue
from localgrad.reproduction.paper import STATEMENTS
from localgrad.reproduction.verdicts import NOT_TESTED, Evidence, Statement, judge, verdict

ROOT = Path(__file__).parents[2]


def evidence(**answers):
    """Claims `x.a`, `x.b` … that hold or not, and a check `x.k` if it is among them."""
    claims = {f"x.{name}": {"holds": answer, "measured": 0.25} for name, answer in answers.items() if name != "k"}
    checks = {"x.k": {"agrees": answers["k"], "measured": "inf"}} if "k" in answers else {}
    return Evidence(claims, checks, {"x.number": 3.14159})


def statement(*tests, why="", otherwise="", findings=()):
    return Statement("s", "A sentence.", "topic", tests, why, findings, otherwise)


@pytest.mark.parametrize(
    ("answers", "tests", "expected"),
    [
        ({"a": True, "b": True}, ("x.a", "x.b"), "reproduced"),
        ({"a": True, "b": False}, ("x.a", "x.b"), "partly"),
        ({"a": False, "b": False}, ("x.a", "x.b"), "not reproduced"),
        ({"a": True, "k": False}, ("x.a", "x.k"), "partly"),
        ({"k": False}, ("x.k",), "not reproduced"),
        ({"k": True}, ("x.k",), "reproduced"),
        ({"a": True}, ("x.a", "x.b"), "not tested"),
        ({"a": False}, ("x.a", "x.b"), "not tested"),
        ({"a": True}, (), "not tested"),
    ],
)
def test_a_verdict_follows_from_its_tests(answers, tests, expected):
    assert verdict(statement(*tests), evidence(**answers)) == expected
    assert judge(statement(*tests), evidence(**answers))["verdict"] == expected


def test_findings_do_not_decide():
    found = judge(statement("x.a", findings=("x.b",)), evidence(a=True, b=False))
    assert (found["verdict"], found["claims"], found["checks"]) == ("reproduced", ["x.a", "x.b"], [])
    assert (found["tests"], found["related"]) == (["x.a"], ["x.b"])


def test_sentences_quote_what_was_measured():
    told = statement("x.a", "x.k", why="{x.a:.0%}, {x.number}, {x.k:.1f}.", otherwise="For {x.number:.1f} reasons.")
    found = judge(told, evidence(a=True, k=False))
    assert found["why"] == "25 %, 3.14, inf. For 3.1 reasons."
    assert found["checks"] == ["x.k"]
    assert judge(told, evidence(a=True, k=True))["why"] == "25 %, 3.14, inf."


def test_what_did_not_run_is_named():
    found = judge(statement("x.a", "y.b", why="{z.c}"), evidence(a=True))
    assert (found["verdict"], found["why"]) == (NOT_TESTED, "Needs the experiments y, z.")
    assert judge(statement("y.b"), evidence())["why"] == "Needs the experiment y."
    assert judge(statement(why="There is no way."), evidence())["why"] == "There is no way."


def test_statements_are_whole_sentences_with_ids_of_their_own():
    assert len({s.id for s in STATEMENTS}) == len(STATEMENTS)
    assert len({s.sentence for s in STATEMENTS}) == len(STATEMENTS)
    for s in STATEMENTS:
        assert s.sentence[-1] == "."
        assert s.why[-1] == "."
        assert s.source
        assert len(set(s.ids)) == len(s.ids)
        assert bool(s.tests) == bool(s.quoted), f"{s.id}: a verdict quotes numbers; one without tests has none"


def words_in_the_code():
    """All string constants of the reproduction, by experiment or `None`."""
    words = set()
    for found in pkgutil.walk_packages(localgrad.reproduction.__path__, "localgrad.reproduction."):
        if found.name.rpartition(".")[2] in ("paper", "verdicts"):
            continue
        tree = ast.parse(Path(importlib.util.find_spec(found.name).origin).read_text(encoding="utf-8"))
        words |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return words


def test_what_statements_name_stands_in_an_experiment():
    """A first net, without running anything; `test_experiments.py` runs them, once for all tests."""
    words = words_in_the_code()
    for name in {name for s in STATEMENTS for name in (*s.ids, *s.quoted)}:
        experiment, _, short = name.partition(".")
        assert experiment in catalogue.NAMES, name
        assert name in words or short in words or short.startswith("saddle-"), name
