"""What keeps the house in order and no linter knows: sizes of files, empty doors of rooms, and who may name a rule."""

import ast
import re
from pathlib import Path

import pytest

import localgrad
from localgrad.rules.presets import PRESETS, make_rule, parameters_of

SOURCE = Path(localgrad.__file__).parent
FILES = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
MAY_NAME_RULES = {"rules/presets.py", "figures/looks.py"}  # the list of presets, and the table of their looks


def names_of(preset: str) -> set[str]:
    """A preset's own name, and the names and keys of the rules it makes, with fixed and with symmetric feedback."""
    choices = [{"feedback": feedback, "decay": 0.5} for feedback in (1.0, "symmetric")]
    rules = [make_rule(preset, **{x: given[x] for x in parameters_of(preset) if x in given}) for given in choices]
    return {preset} | {word for rule in rules for word in (rule.name, rule.key)}


NAMES = {name for preset in PRESETS for name in map(str.casefold, names_of(preset))}


def named_rules(source: str) -> list[str]:
    """Strings of a source text that are a rule's name or key, whatever their case and their number of lags."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = [(node.lineno, node.value) for node in nodes if isinstance(node.value, str)]
    return [f"line {line}: {text!r}" for line, text in texts if re.sub(r"\d+", "1", text.casefold()) in NAMES]


def test_no_file_holds_two_ideas():
    assert {name: lines for name, text in FILES.items() if (lines := len(text.splitlines())) > 300} == {}


def test_rooms_export_nothing():
    """But for those that are public modules themselves, whose names stand in a stub and load lazily."""
    doors = {name: text for name, text in FILES.items() if name.endswith("/__init__.py")}
    assert len(doors) > 10
    open_doors = [name for name, text in doors.items() if [type(x) for x in ast.parse(text).body] != [ast.Expr]]
    assert sorted(open_doors) == ["cells/__init__.py", "tasks/__init__.py"]
    for door in open_doors:
        assert "attach_stub" in doors[door]
        assert (SOURCE / door).with_suffix(".pyi").exists()


def test_nothing_asks_for_a_rule_by_its_name():
    """All but the list of presets and the table of their looks holds the rule, or asks for its properties."""
    found = {name: named_rules(text) for name, text in FILES.items() if name not in MAY_NAME_RULES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("text", ["rflo", "RFLO", "tBPTT(3)", "tbptt-12", "e-prop (random)", "eprop-random"])
def test_a_name_of_a_rule_is_seen(text):
    assert named_rules(f"x = rule.key == {text!r}") == [f"line 1: {text!r}"]
