"""What mode functions take: numbers of every kind or one sentence; sizes of every order, or the count."""

from decimal import Decimal

import jax.numpy as jnp
import numpy as np
import pytest

import localgrad as lg
from localgrad import Mode

TEACHER, START, RULE = Mode(1.0, 1.0, 0.5), Mode(1.0, 1.0, 0.3), lg.RFLO(0.5, 0.25)

# Every public function of modes, by a rule, a start and a teacher.
FUNCTIONS = {
    "mode_update": lg.mode_update,
    "mode_jacobian": lg.mode_jacobian,
    "mode_loss": lambda rule, start, teacher: lg.mode_loss(start, teacher),
    "fixed_points": lambda rule, start, teacher: lg.fixed_points(rule, teacher),
    "search_fixed_points": lambda rule, start, teacher: lg.search_fixed_points(rule, teacher, num_starts=2),
    "spectrum": lambda rule, start, teacher: lg.spectrum(rule, teacher, 1.0),
    "spectrum_at": lg.spectrum_at,
    "convergence_rate": lambda rule, start, teacher: lg.convergence_rate(rule, teacher, 1.0),
    "critical_learning_rate": lambda rule, start, teacher: lg.critical_learning_rate(rule, teacher, 1.0),
    "rate_crossings": lambda rule, start, teacher: lg.rate_crossings(rule, lg.BPTT(), teacher, 0.1, 1.0, samples=9),
    "slowest_point": lambda rule, start, teacher: lg.slowest_point(rule, teacher),
    "learn_mode": lambda rule, start, teacher: lg.learn_mode(rule, start, teacher, duration=1.0),
    "integrate_modes": lambda rule, start, teacher: lg.integrate_modes(rule, start, teacher, duration=1.0),
    "boundary": lambda rule, start, teacher: lg.boundary(rule, start, (2.0, 1.0, 0.0), teacher, samples=2),
    "basins": lambda rule, start, teacher: lg.basins(rule, teacher, a=start[0], b=[1.0, 2.0], w=0.0, duration=1.0),
}
TAKES_A_START = {
    "mode_update",
    "mode_jacobian",
    "mode_loss",
    "spectrum_at",
    "learn_mode",
    "integrate_modes",
    "boundary",
}

ODD = {
    "word": "1.0",
    "none": None,
    "decimal": Decimal("1.0"),
    "masked": np.ma.masked_array([1.0], [True]),
    "objects": np.array([object()]),
    "complex": 1.0 + 2.0j,
    "ragged": [[1.0], [1.0, 2.0]],
    "nan": float("nan"),
}

OSCILLATE = {"mode_update", "mode_jacobian", "mode_loss", "fixed_points", "spectrum", "spectrum_at"}
"""What takes modes with complex entries (tests/modes/test_oscillating.py)."""


@pytest.mark.parametrize(
    ("name", "odd"), [(x, y) for x in FUNCTIONS for y in ODD if not (x in OSCILLATE and y == "complex")]
)
def test_what_is_no_real_number_is_refused_in_one_sentence(name, odd):
    calls = [(RULE, START, Mode(ODD[odd], 1.0, 0.5))]
    if name in TAKES_A_START:
        calls.append((RULE, Mode(1.0, ODD[odd], 0.3), TEACHER))
    for call in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (what it says is checked below)
            FUNCTIONS[name](*call)
        message = str(caught.value)
        assert len(message) < 250
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rules_and_modes_of_other_kinds_are_refused(name):
    if name != "mode_loss":
        for rule in ("rflo", None, lg.RFLO):
            with pytest.raises(ValueError, match=r"not a localgrad\.Rule"):
                FUNCTIONS[name](rule, START, TEACHER)
    for teacher in (None, 1.0, "abw", (1.0, 2.0), {"a": 1.0}):
        with pytest.raises(ValueError, match=r"the teacher is .*; give a localgrad\.Mode"):
            FUNCTIONS[name](RULE, START, teacher)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tuples_and_whole_numbers_do(name):
    first = FUNCTIONS[name](RULE, (1, 1, 0.3), [1, 1, 0.5])
    second = FUNCTIONS[name](RULE, START, TEACHER)
    assert repr(first) == repr(second)


class Squared(lg.Term):
    """A feedback `a²`, which is no line."""

    def __call__(self, matrix):
        return matrix**2

    def on_mode(self, x):
        return x**2


def test_a_feedback_of_another_form_is_served_or_refused():
    rule = lg.Rule(Squared(), 0.25)
    served = {*FUNCTIONS} - {"fixed_points", "integrate_modes", "boundary", "basins"}
    for name, function in FUNCTIONS.items():
        if name in served:
            function(rule, START, TEACHER)
        else:
            with pytest.raises(ValueError, match=r"the term Squared is not; follow single modes with learn_mode"):
                function(rule, START, TEACHER)


def test_a_feedback_that_learns_is_refused():
    rule = lg.Rule(lg.WeightMirror(np.ones((1, 1)), 0.1), "full")
    for name, function in FUNCTIONS.items():
        if name != "mode_loss":
            with pytest.raises(ValueError, match="learns, so a mode has more than its three numbers"):
                function(rule, START, TEACHER)


def test_whole_numbers_do_not_wrap_and_halves_do_not_overflow():
    expected = lg.mode_update(lg.BPTT(), Mode(300.0, 300.0, 0.5), TEACHER)
    for kind in (np.int16, np.int64, np.float16, np.float32, jnp.float16, jnp.int16):
        make = jnp.asarray if kind in (jnp.float16, jnp.int16) else np.asarray
        found = lg.mode_update(lg.BPTT(), Mode(make(300, kind), make(300, kind), 0.5), TEACHER)
        np.testing.assert_allclose(np.array(found, dtype=float), np.array(expected), rtol=1e-6)
    small = np.array([12], np.int8)
    np.testing.assert_array_equal(lg.mode_update(lg.BPTT(), Mode(small, small, 0.5), TEACHER).w, 18304.0)
    run = lg.integrate_modes(lg.RFLO(np.int8(100), np.float16(0.5)), Mode(small, 1, 0.5), TEACHER, duration=1.0)
    expected = lg.integrate_modes(lg.RFLO(100.0, 0.5), Mode([12.0], 1.0, 0.5), TEACHER, duration=1.0)
    np.testing.assert_array_equal(run.final.w, expected.final.w)


def test_overflow_does_not_travel():
    large = Mode(1e160, 1e160, 0.5)
    for function in (lg.mode_update, lg.mode_jacobian):
        with pytest.raises(ValueError, match="overflows; give smaller"):
            function(lg.BPTT(), large, TEACHER)
    with pytest.raises(ValueError, match="the loss overflows"):
        lg.mode_loss(large, TEACHER)
    with pytest.raises(ValueError, match="the update overflows"):
        lg.mode_update(lg.BPTT(), Mode(np.float32(1e30), np.float32(1e30), 0.5), Mode(1e300, 1e300, 0.5))
    with pytest.raises(ValueError, match="is not finite"):
        lg.fixed_points(lg.RFLO(float("nan"), 0.5), TEACHER)
    with pytest.raises(ValueError, match="vanishes beyond double precision"):
        lg.fixed_points(lg.Rule(lg.Feedback(1e-300, 1e300)), TEACHER)


def test_sizes_beyond_the_machine_are_refused_with_the_count():
    many = np.zeros((10**6, 1))
    with pytest.raises(ValueError, match=r"1,000,000,000,000 trajectories take .* GB of memory"):
        lg.integrate_modes(RULE, Mode(many, 1.0, many.T), TEACHER, duration=1.0)
    with pytest.raises(ValueError, match=r"100,000 trajectories take .* GB of memory"):
        lg.integrate_modes(
            RULE, Mode(np.ones(10**5), 1.0, 0.0), TEACHER, duration=1.0, save_at=np.linspace(0, 1, 10**6)
        )
    with pytest.raises(ValueError, match=r"1,000,000,000,000 starts take"):
        lg.basins(RULE, TEACHER, a=np.linspace(-1, 1, 10**6), b=np.linspace(-1, 1, 10**6), w=0.0)
    with pytest.raises(ValueError, match=r"10,000,000,000,000 starts take"):
        lg.sample_basins(RULE, TEACHER, num_starts=10**13, low=Mode(0, 0, 0), high=Mode(1, 1, 0))
    with pytest.raises(ValueError, match=r"1,000,000,000,000 starts take"):
        lg.search_fixed_points(RULE, TEACHER, num_starts=10**12)
    # A bound on steps that is never reached costs nothing.
    run = lg.integrate_modes(RULE, START, TEACHER, duration=10.0, max_steps=10**12)
    assert lg.learn_mode(RULE, START, TEACHER, duration=10.0, max_steps=10**12).outcome == run.outcome


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, np.nan, np.inf, [3], True])
def test_counts_are_whole_numbers(value):
    calls = [
        lambda: lg.integrate_modes(RULE, START, TEACHER, duration=1.0, max_steps=value),
        lambda: lg.learn_mode(RULE, START, TEACHER, duration=1.0, max_steps=value),
        lambda: lg.search_fixed_points(RULE, TEACHER, num_starts=value),
        lambda: lg.sample_basins(RULE, TEACHER, num_starts=value, low=Mode(0, 0, 0), high=Mode(1, 1, 0)),
        lambda: lg.rate_crossings(RULE, lg.BPTT(), TEACHER, 0.1, 1.0, samples=value),
        lambda: lg.boundary(RULE, START, (2.0, 1.0, 0.0), TEACHER, samples=value),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="must be a whole number of at least 1, got"):
            call()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lg.RFLO(-1.0, np.array([0.5, 0.6])), r"the rule's propagator has shape \(2,\) on a mode; give one number"),
        (lg.RFLO(np.array([1.0, 2.0]), 0.5), r"the rule's feedback has shape \(2,\) on a mode; give one number"),
    ],
)
def test_what_follows_one_mode_takes_one_rule(rule, message):
    start, teacher = lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8)
    for call in (
        lambda: lg.learn_mode(rule, start, teacher, duration=1.0),
        lambda: lg.slowest_point(rule, teacher),
        lambda: lg.boundary(rule, start, lg.Mode(-1.0, 1.0, 0.6), teacher),
        lambda: lg.search_fixed_points(rule, teacher),
    ):
        with pytest.raises(ValueError, match=message):
            call()
