"""The experiments: their claims hold, and can fail; their figures and tables are drawn from the dataset alone.

The whole quick run costs two minutes, so one fixture (`conftest.py`) makes it once, for the slow tests.
"""

import dataclasses
import importlib
import json
import math

import matplotlib
import numpy as np
import pytest
import xarray as xr
from turning import answers, answers_that_change

from localgrad.figures.plotting import figure_to_png, style
from localgrad.models.aligned import Mode
from localgrad.reproduction import catalogue, pool
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.paper import STATEMENTS
from localgrad.reproduction.theory.teacher_modes import draw_mode_rates, mode_rates
from localgrad.reproduction.verdicts import NOT_TESTED, VERDICTS, Evidence, judge
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT

every_experiment = pytest.mark.parametrize("name", catalogue.NAMES)

# Variables that hold NaN or infinity on purpose: padding, what a rule does not have, losses that diverge.
NOT_FINITE = {
    "bounded-poles": {"outward"},
    "basins": {"peak_loss_ab", "peak_loss_aw"},
    "detours": {"mode", "time", "loss"},
    "double-limit": {"deviation", "growth"},
    "feedback-dimension": {"loss"},
    "fixed-points": {"roots"},
    "imperfections": {"learned_after", "rank", "rank_seen", "loss_left"},
    "kernels": {"peak"},
    "rank": {"variant_numbers"},
}


# --- claims ----------------------------------------------------------------------------------------------------------


def equal(expected, measured, tolerance=0.1):
    return Claim.equal("x.id", "source", "statement", expected, measured, tolerance=tolerance)


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (equal(1.0, 1.0, 0), True),
        (equal(1.0, np.nextafter(1.0, 2.0), 0), False),
        (equal(1.0, 1.05), True),
        (equal(1.0, 0.89), False),
        (equal(-1.0, 1.0), False),
        (equal(0.0, np.nan), False),
        (equal(0.0, np.inf), False),
        (equal(np.inf, np.inf), False),  # nothing infinite is ever as expected
        (equal(1.0, xr.DataArray(1.0)), True),
        (equal(1, np.bool_(True), 0), True),
        (Claim.at_most("x.id", "s", "t", 1.0, 1.0), True),
        (Claim.at_most("x.id", "s", "t", 1.0, 1.0001), False),
        (Claim.at_most("x.id", "s", "t", 1.0, np.nan), False),
        (Claim.at_most("x.id", "s", "t", 1.0, np.inf), False),
        (Claim.at_most("x.id", "s", "t", np.float64(1.0), np.float32(0.5)), True),
        (Claim.at_least("x.id", "s", "t", 1.0, 1.0), True),
        (Claim.at_least("x.id", "s", "t", 1.0, 0.9999), False),
        (Claim.at_least("x.id", "s", "t", 1.0, np.nan), False),
        (Claim.at_least("x.id", "s", "t", 1.0, -np.inf), False),
    ],
)
def test_whether_a_claim_holds(claim, holds):
    assert claim.holds is holds  # a bool of Python's own, which JSON can hold
    document = claim.as_json("x")
    assert list(document) == ["id", "experiment", "source", "statement", "expected", "measured", "holds"]
    back = json.loads(json.dumps(document, allow_nan=False))
    assert back["holds"] is holds
    if math.isfinite(claim.measured):
        assert back["measured"] == claim.measured
    else:
        assert back["measured"] in ("nan", "inf", "-inf")


def test_what_is_expected_is_said():
    assert equal(0.5, 0.5, 0).expected == "exactly 0.5"
    assert equal(0.5, 0.5, 5e-3).expected == "0.5 ± 0.005"
    assert Claim.at_most("x", "s", "t", 1e-10, 0).expected == "≤ 1e-10"
    assert Claim.at_least("x", "s", "t", 20, 0).expected == "≥ 20"


# --- what every experiment is ----------------------------------------------------------------------------------------


def test_groups_hold_every_experiment_once():
    assert sorted(name for group in pool.grouped(catalogue.NAMES) for name in group) == sorted(catalogue.NAMES)
    assert pool.grouped(["rates", "eprop-rank", "rank"]) == [["rank", "eprop-rank"], ["rates"]]


@every_experiment
def test_experiments_are_known_by_their_names(name):
    experiment = catalogue.load(name)
    assert experiment.name == name
    assert experiment is catalogue.load(name.replace("-", "_"))
    assert experiment.title
    assert experiment.question.endswith("?")
    assert type(experiment.parameters) is type(experiment.quick)
    for parameters in (experiment.parameters, experiment.quick):
        assert json.loads(json.dumps(dataclasses.asdict(parameters), allow_nan=False))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(parameters, dataclasses.fields(parameters)[0].name, 0)
    assert bool(experiment.table) == bool(experiment.table_caption)
    assert all(figure.caption.endswith(".") for figure in experiment.figures)


def test_every_experiment_describes_its_variables():
    """`Experiment.run` holds the descriptions against the dataset; here, that there are any."""
    assert [name for name in catalogue.NAMES if not catalogue.load(name).describe] == []


def test_figure_names_are_unique():
    names = [figure.name for name in catalogue.NAMES for figure in catalogue.load(name).figures]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_every_claim_holds(runs):
    claims = {name: catalogue.load(name).claims(dataset) for name, dataset in runs.items()}
    ids = [claim.id for found in claims.values() for claim in found]
    assert len(ids) == len(set(ids))
    for name, found in claims.items():
        for claim in found:
            assert claim.id.startswith(f"{name}.")
            assert claim.holds, claim
            assert math.isfinite(claim.measured)
            assert min(len(claim.source), len(claim.statement)) > 4


@pytest.mark.slow
@every_experiment
def test_datasets_hold_plain_numbers(runs, name):
    dataset = runs[name]
    assert dataset.attrs["experiment"] == name
    assert json.loads(dataset.attrs["parameters"]) == json.loads(
        json.dumps(dataclasses.asdict(catalogue.load(name).quick))
    )
    for key, variable in dataset.data_vars.items():
        assert variable.dtype.kind in "fib", f"{key} has dtype {variable.dtype}"
        if key not in NOT_FINITE.get(name, ()):
            assert np.isfinite(variable.values).all(), key


@pytest.mark.slow
@every_experiment
def test_figures_and_tables_come_from_the_dataset(runs, name):
    experiment = catalogue.load(name)
    settings = dict(matplotlib.rcParams)
    for spec in experiment.figures:
        with style():
            figure = spec.draw(runs[name])
        assert all(ax.has_data() for ax in figure.axes), spec.name
        assert figure_to_png(figure).startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == settings
    if experiment.table:
        rows = experiment.table(runs[name])
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(isinstance(cell, str) and "nan" not in cell for row in rows for cell in row)


@pytest.mark.slow
def test_statements_and_measurements_belong_together(runs):
    """Every id exists; whatever cites the paper is part of a statement; every check decides something."""
    experiments = {name: catalogue.load(name) for name in runs}
    claims = {c.id: c for name, data in runs.items() for c in experiments[name].claims(data)}
    checks = {
        c.id: c for name, data in runs.items() if experiments[name].checks for c in experiments[name].checks(data)
    }
    numbers = {key: x for name, data in runs.items() for key, x in experiments[name].measured_numbers(data).items()}
    assert not claims.keys() & checks.keys()
    assert not numbers.keys() & (claims.keys() | checks.keys())
    named = {id for s in STATEMENTS for id in s.ids}
    assert named - claims.keys() - checks.keys() == set()
    assert {name for s in STATEMENTS for name in s.quoted} - claims.keys() - checks.keys() - numbers.keys() == set()
    assert {c.id for c in (*claims.values(), *checks.values()) if c.source.startswith("paper")} - named == set()
    assert checks.keys() - {id for s in STATEMENTS for id in s.tests} == set()
    assert all(math.isfinite(x) for x in numbers.values())
    measured = Evidence(
        {id: c.as_json(id.partition(".")[0]) for id, c in claims.items()},
        {id: c.as_json(id.partition(".")[0], "agrees") for id, c in checks.items()},
        numbers,
    )
    for s in STATEMENTS:
        found = judge(s, measured)
        assert found["verdict"] in VERDICTS
        assert (found["verdict"] == NOT_TESTED) == (not s.tests)
        assert "{" not in found["why"]


# --- a claim that cannot fail is none --------------------------------------------------------------------------------


@pytest.mark.slow
@every_experiment
def test_every_claim_and_check_can_turn(runs, name):
    experiment = catalogue.load(name)
    assert answers(experiment, runs[name]).keys() - answers_that_change(experiment, runs[name]) == set()


def failing_with(monkeypatch, name, parameters, **replacements):
    """The claims of an experiment that fail when names in its module mean something else."""
    module = importlib.import_module(catalogue.load(name).compute.__module__)
    for key, value in replacements.items():
        monkeypatch.setattr(module, key, value)
    experiment = dataclasses.replace(catalogue.load(name), parameters=parameters)
    return {claim.id for claim in experiment.claims(experiment.run()) if not claim.holds}


def test_rates_of_other_rules_fail_the_claims(monkeypatch):
    parameters = dataclasses.replace(catalogue.load("rates").quick, num_points=100, decays=(0.5,))
    assert failing_with(monkeypatch, "rates", parameters) == set()
    # tBPTT(2) in BPTT's place: RFLO no longer meets it at s = â.
    two_lags = dataclasses.replace(TruncatedBPTT(2), name="BPTT")
    assert "rates.coincide" in failing_with(monkeypatch, "rates", parameters, BPTT=lambda: two_lags)


def test_detours_of_other_rules_fail_the_claims(monkeypatch):
    parameters = dataclasses.replace(catalogue.load("detours").quick, num_random_starts=1)
    failing = failing_with(
        monkeypatch, "detours", parameters, RFLO=lambda feedback, decay: dataclasses.replace(BPTT(), name="RFLO")
    )
    expected = {"rflo-branch", "rflo-end", "rflo-path", "rflo-peak", "diverge", "not-conserved"}
    assert failing == {f"detours.{name}" for name in expected}


def test_the_saddle_border_at_another_exponent_fails(monkeypatch):
    parameters = dataclasses.replace(catalogue.load("stability").quick, num_samples=2000, grid=3, num_step_checks=3)
    assert failing_with(monkeypatch, "stability", parameters) == set()
    failing = failing_with(
        monkeypatch, "stability", parameters, saddle_border=lambda c, feedback: np.sqrt(np.abs(c / feedback))
    )
    assert "stability.rflo-saddle" in failing
    assert "stability.bptt-closed-form" not in failing


# --- mode rates, shared with `analyze` -------------------------------------------------------------------------------


def test_mode_rates_are_those_of_each_mode():
    teacher = Mode(np.array([1.0, 2.0, 0.5]), np.array([1.0, -1.0, 0.5]), np.array([0.8, -0.3, 0.1]))
    data = mode_rates([BPTT(), RFLO(1.0, 0.5), BPTT()], teacher, scales=(0.5, 1.0))
    assert list(data.rule_name.values) == ["BPTT", "RFLO", "BPTT#2"]
    assert data.rate.dims == data.critical.dims == ("rule", "scale", "mode")
    np.testing.assert_array_equal(data.c, [1.0, -2.0, 0.25])
    np.testing.assert_array_equal(data.rate[0], data.rate[2])
    one = mode_rates([BPTT()], Mode(*(np.array([x[1]]) for x in teacher)))
    assert one.rate.item() == pytest.approx(float(data.rate.sel(rule=BPTT().key, scale=1.0, mode=2)), rel=1e-14)


def test_mode_rates_are_drawn_also_where_a_rule_is_unstable():
    data = mode_rates([BPTT(), RFLO(-1.0, 0.5)], Mode(np.ones(4), np.ones(4), np.linspace(-0.8, 0.8, 4)))
    assert float(data.rate.min()) < 0
    with style():
        assert figure_to_png(draw_mode_rates(data)).startswith(b"\x89PNG")
