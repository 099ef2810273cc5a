"""CONTRIBUTING's recipes, followed to the letter: quickly in this process, and slowly in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from cases import STUDENT, TEACHER, assert_close, matrices, network, preset_case
from oracles import brute_force_update, mode_sums
from test_house import named_rules
from turning import answers, answers_that_change

import localgrad
import localgrad as lg
from localgrad.cli.commands import app
from localgrad.figures.plotting import rule_style
from localgrad.reproduction import catalogue, theory
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.theory.teacher_modes import mode_rates
from localgrad.rules import presets

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(heading):
    """The Python blocks under a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


FUNCTION, ENTRY = blocks("A new rule")
[TERM] = blocks("A new term")
MODULE, CATALOGUE_ENTRY = blocks("A new experiment")
[(PRESET, MAKER)] = re.findall(r'"(.+)": (\w+),', ENTRY)
[(EXPERIMENT, PLACE)] = re.findall(r'"(.+)": "(.+)",', CATALOGUE_ENTRY)


def with_preset(source):
    """The text of rules/presets.py with the new rule in it."""
    before, after = source.split("PRESETS: dict", 1)
    entries, rest = after.split("\n}\n", 1)
    return f"{before}{FUNCTION}\n\nPRESETS: dict{entries}\n{ENTRY}}}\n{rest}"


def command(*arguments):
    """Standard output of a command, run in this process, on a terminal so wide that no word is broken."""
    result = typer.testing.CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


STUDENT_MODE, TEACHER_MODE = (0.8, -1.2, 0.5), (1.1, 0.7, -0.6)


def assert_mode_is_summed(rule, F, M, lags):
    """The update of a mode against the sums of theory, section 4, without the library."""
    expected, _ = mode_sums(F, M, lags, STUDENT_MODE, TEACHER_MODE)
    assert_close(lg.mode_update(rule, lg.Mode(*STUDENT_MODE), lg.Mode(*TEACHER_MODE)), expected, 1e-12)


def test_recipes_are_as_short_as_they_say():
    assert len(FUNCTION.splitlines()) <= 15
    assert len(ENTRY.splitlines()) == len(CATALOGUE_ENTRY.splitlines()) == 1
    [body] = re.findall(r"class Clipped.*?\n\n\n", TERM, re.DOTALL)
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 10
    assert len(MODULE.splitlines()) <= 70
    assert max(map(len, MODULE.splitlines())) <= 120


# --- a rule ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def preset(monkeypatch, tmp_path):
    """The new rule's name, with localgrad as if the rule stood in rules/presets.py."""
    path = tmp_path / "presets.py"
    path.write_text(with_preset(Path(presets.__file__).read_text(encoding="utf-8")), encoding="utf-8")
    edited = {"__name__": presets.__name__}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), edited)
    assert list(edited["PRESETS"]) == [*presets.PRESETS, PRESET]
    exec(FUNCTION, vars(presets))
    monkeypatch.setitem(presets.PRESETS, PRESET, vars(presets).pop(MAKER))
    monkeypatch.setattr(presets, "__spec__", spec_from_file_location(presets.__name__, path))
    presets.known_presets.cache_clear()
    yield PRESET
    presets.known_presets.cache_clear()


def test_a_preset_is_known_to_the_command_line(preset):
    assert all(preset in command(name, "--help") for name in ("derive", "train", "analyze"))
    assert command("derive", preset, "--lags", "2").startswith("feedback alignment (2)")


def test_a_preset_is_a_conformance_case(preset):
    """The case that `cases.py` makes of every entry of the list: its `F` and `M`, and the update of a mode."""
    case = preset_case(preset)
    F, M, lags = case.reference(STUDENT)
    assert lags == case().lags
    assert_close([case().feedback(STUDENT[0]), case().propagator(STUDENT[1])], [F, M], 1e-14)
    assert_mode_is_summed(case.rule(0.7, 0.4), *case.on_mode(STUDENT_MODE, 0.7, 0.4))


def test_a_preset_has_a_place_in_figures(preset):
    one, two = (presets.make_rule(preset, feedback=1.0, lags=lags) for lags in (1, 2))
    assert one.key != two.key
    assert rule_style(one.key) == rule_style(two.key) == rule_style("custom")
    data = mode_rates([lg.BPTT(), one, two], lg.Mode(np.array([1.0]), np.array([1.0]), np.array([0.8])))
    assert [name_of(data, key) for key in data.rule.values] == ["BPTT", one.name, two.name]


# --- a term ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def rule_with_term():
    names = {}
    exec(TERM, names)
    return names["rule"]


def test_a_term_is_honoured_by_modes(rule_with_term):
    a, _, w = STUDENT_MODE
    assert_mode_is_summed(rule_with_term, np.clip(a, -0.5, 0.5), w, None)


@pytest.mark.slow
def test_a_term_is_honoured_by_networks(rule_with_term):
    A, W, _ = STUDENT
    expected = brute_force_update(np.clip(A, -0.5, 0.5), np.diag(np.diag(W)), None, STUDENT, TEACHER)
    assert_close(matrices(lg.expected_update(rule_with_term, network(STUDENT), network(TEACHER))), expected, 1e-11)


# --- an experiment ---------------------------------------------------------------------------------------------------


@pytest.fixture
def experiment(monkeypatch, tmp_path):
    """The new experiment's name, with localgrad as if its module and its line stood in reproduction/."""
    *_, module = PLACE.split(".")
    (tmp_path / f"{module}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(theory, "__path__", [*theory.__path__, str(tmp_path)])
    monkeypatch.setitem(catalogue._MODULES, EXPERIMENT, PLACE)
    monkeypatch.setattr(catalogue, "NAMES", tuple(catalogue._MODULES))
    yield EXPERIMENT
    sys.modules.pop(f"localgrad.reproduction.{PLACE}", None)


def test_an_experiment_is_reproduced(experiment, tmp_path):
    done = json.loads(command("reproduce", experiment, "--quick", "--json", "--out", str(tmp_path / "report")))
    assert [(claim["experiment"], claim["holds"]) for claim in done["claims"]] == [(experiment, True)]
    assert catalogue.load(experiment).title in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_the_claims_of_an_experiment_can_turn(experiment):
    found = catalogue.load(experiment)
    dataset = found.run(quick=True)
    assert answers_that_change(found, dataset) == set(answers(found, dataset)) != set()


def test_an_experiment_names_no_rule_by_a_string(experiment):
    assert named_rules(MODULE) == []


# --- the same in a copy of the package -------------------------------------------------------------------------------


def edit(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def run(copy, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy / "tests")])}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_no_file_of_tests_has_to_follow_a_preset_or_an_experiment(tmp_path):
    source, tests, project = (tmp_path / name for name in ("src", "tests", "pyproject.toml"))
    shutil.copytree(Path(localgrad.__file__).parent, source / "localgrad", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tests, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    edit(source / "localgrad/rules/presets.py", with_preset)
    reproduction = source / "localgrad/reproduction"
    (reproduction / f"{PLACE.replace('.', '/')}.py").write_text(MODULE, encoding="utf-8")
    edit(reproduction / "catalogue.py", lambda text: text.replace("\n}", f"\n{CATALOGUE_ENTRY}}}", 1))
    files = [
        "rules/test_rules.py",
        "rules/test_terms.py",
        "test_conformance.py::test_every_preset_is_under_test",
        "test_conformance.py::test_a_rule_describes_itself",
        "figures/test_plotting.py",
        "modes/test_symbolic.py",
        "cli/test_cli.py::test_help_names_all_rules_and_experiments",
        "reproduction/test_experiments.py",
    ]
    names = f"{PRESET} or {EXPERIMENT} or every_preset or differ or help_names or figure_names or are_found"
    options = ["-p", "no:cacheprovider", "-vv", "-m", "not slow", "-k", names]
    found = run(tmp_path, "pytest", *options, *(f"tests/{file}" for file in files))
    assert found.returncode == 0, found.stdout[-3000:]
    assert f"[{PRESET}]" in found.stdout
    assert f"[{EXPERIMENT}]" in found.stdout
