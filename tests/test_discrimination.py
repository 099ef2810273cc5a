"""Which rules coincide on which model, and which must differ.

On each model the named rules fall into classes of equal updates; the tests ask for exactly these classes. A library
whose e-prop is, line for line, its RFLO passes most tests of either; it does not pass this one.
"""

import numpy as np
import pytest
from cases import DECAY, FEEDBACK, GAMMA, HIDDEN, HORIZON, STUDENT, TEACHER, assert_close, distance, matrices, network

import localgrad as lg

# Equal: to the rounding of sums of some hundred terms. Different: by at least a percent of the largest entry.
EQUAL, DIFFERENT = 1e-11, 1e-2

A, W, B = STUDENT
DIAGONAL_W = np.diag([0.6, -0.5, 0.3, -0.2])


def named_rules(R, decay):
    return {
        "BPTT": lg.BPTT(),
        "tBPTT(1)": lg.TruncatedBPTT(1),
        "tBPTT(2)": lg.TruncatedBPTT(2),
        "e-prop symmetric": lg.EProp(),
        "e-prop random": lg.EProp(R),
        "RFLO": lg.RFLO(R, decay),
        "RFLO symmetric": lg.RFLO("symmetric", decay),
        "feedback alignment": lg.FeedbackAlignment(R),
        "three-factor": lg.ThreeFactor(R),
    }


def classes(updates):
    """The names of equal updates together; a pair that is neither equal nor clearly different is an error."""
    found: list[set[str]] = []
    for name, update in updates.items():
        distances = [distance(update, updates[min(members)]) for members in found]
        assert all(d < EQUAL or d > DIFFERENT for d in distances), (name, distances)
        matching = [members for members, d in zip(found, distances, strict=True) if d < EQUAL]
        (matching[0] if matching else found.append(set()) or found[-1]).add(name)
    return {frozenset(members) for members in found}


def expected_classes(together, names):
    single = set(names) - set().union(*together)
    return {frozenset(members) for members in together} | {frozenset({name}) for name in single}


MODELS = {
    "dense": ((A, W, B), FEEDBACK, DECAY, []),
    "diagonal W": (
        (A, DIAGONAL_W, B),
        FEEDBACK,
        DECAY,
        [{"BPTT", "e-prop symmetric"}, {"feedback alignment", "e-prop random"}],
    ),
    "W a multiple of the identity, and the decay the same": (
        (A, DECAY * np.eye(HIDDEN), B),
        FEEDBACK,
        DECAY,
        [{"BPTT", "e-prop symmetric", "RFLO symmetric"}, {"feedback alignment", "e-prop random", "RFLO"}],
    ),
    "dense, no decay": ((A, W, B), FEEDBACK, 0.0, [{"RFLO", "three-factor"}, {"RFLO symmetric", "tBPTT(1)"}]),
    "dense, feedback equal to the readout": (
        (A, W, B),
        A,
        DECAY,
        [
            {"BPTT", "feedback alignment"},
            {"e-prop symmetric", "e-prop random"},
            {"RFLO", "RFLO symmetric"},
            {"tBPTT(1)", "three-factor"},
        ],
    ),
    "no recurrence yet": (
        (A, 0 * W, B),
        FEEDBACK,
        DECAY,
        [
            {"BPTT", "tBPTT(1)", "tBPTT(2)", "e-prop symmetric"},
            {"feedback alignment", "e-prop random", "three-factor"},
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [None, HORIZON])
@pytest.mark.parametrize("model", MODELS)
def test_classes_of_equal_rules(model, horizon):
    student, R, decay, together = MODELS[model]
    updates = {
        name: matrices(lg.expected_update(rule, network(student), network(TEACHER), horizon=horizon))
        for name, rule in named_rules(R, decay).items()
    }
    assert classes(updates) == expected_classes(together, updates)


@pytest.mark.parametrize(
    ("w", "together"),
    [
        (0.6, [{"BPTT", "e-prop symmetric"}, {"feedback alignment", "e-prop random"}]),
        (DECAY, [{"BPTT", "e-prop symmetric", "RFLO symmetric"}, {"feedback alignment", "e-prop random", "RFLO"}]),
    ],
)
def test_classes_of_equal_rules_on_a_mode(w, together):
    student, teacher = lg.Mode(0.9, -1.3, w), lg.Mode(1.0, 1.2, -0.7)
    rules = named_rules(0.5, DECAY)
    updates = {name: tuple(lg.mode_update(rule, student, teacher)) for name, rule in rules.items()}
    assert classes(updates) == expected_classes(together, rules)


def test_an_impostor_is_caught():
    """An e-prop that is in truth RFLO shares RFLO's class: the classes of the dense model notice."""
    rules = named_rules(FEEDBACK, DECAY) | {"e-prop random": lg.RFLO(FEEDBACK, DECAY)}
    updates = {n: matrices(lg.expected_update(r, network(STUDENT), network(TEACHER))) for n, r in rules.items()}
    assert classes(updates) != expected_classes([], updates)


def update_of(rule, student=STUDENT, **settings):
    return matrices(lg.expected_update(rule, network(student), network(TEACHER), **settings))


def test_truncated_bptt_goes_to_bptt():
    """The rest after τ lags falls at least as `0.42^τ` (0.6 · 0.7), up to the sums' prefactors."""
    distances = {lags: distance(update_of(lg.TruncatedBPTT(lags)), update_of(lg.BPTT())) for lags in (1, 4, 16, 64)}
    assert distances[1] > distances[4] > distances[16] > 1e-13
    assert distances[1] > DIFFERENT
    assert distances[16] < 100 * 0.42**16
    assert distances[64] < EQUAL


def test_truncation_beyond_the_horizon_is_none():
    assert_close(update_of(lg.TruncatedBPTT(HORIZON), horizon=HORIZON), update_of(lg.BPTT(), horizon=HORIZON), EQUAL)
    shorter = update_of(lg.TruncatedBPTT(HORIZON - 2), horizon=HORIZON)
    assert distance(shorter, update_of(lg.BPTT(), horizon=HORIZON)) > 1e-6


class TestBlends:
    @pytest.mark.parametrize(("share", "end"), [(0.0, lg.BPTT()), (1.0, lg.FeedbackAlignment(FEEDBACK))])
    def test_ends_of_the_feedback_blend(self, share, end):
        assert_close(update_of(lg.Rule(lg.Feedback.blend(share, FEEDBACK))), update_of(end), EQUAL)

    @pytest.mark.parametrize(("share", "end"), [(0.0, lg.BPTT()), (1.0, lg.RFLO("symmetric", DECAY))])
    def test_ends_of_the_propagator_blend(self, share, end):
        rule = lg.Rule("symmetric", lg.Propagator.blend(share, DECAY))
        assert_close(update_of(rule), update_of(end), EQUAL)

    def test_the_middle_of_the_feedback_blend_is_the_mean(self):
        """Updates are linear in the feedback."""
        ends = [update_of(lg.BPTT()), update_of(lg.FeedbackAlignment(FEEDBACK))]
        mean = tuple((x + y) / 2 for x, y in zip(*ends, strict=True))
        assert_close(update_of(lg.Rule(lg.Feedback.blend(0.5, FEEDBACK))), mean, EQUAL)

    def test_the_middle_of_the_propagator_blend_is_not(self):
        """Updates are not linear in the propagator: its powers enter."""
        ends = [update_of(lg.BPTT()), update_of(lg.RFLO("symmetric", DECAY))]
        mean = tuple((x + y) / 2 for x, y in zip(*ends, strict=True))
        assert distance(update_of(lg.Rule("symmetric", lg.Propagator.blend(0.5, DECAY))), mean) > DIFFERENT


def test_decays_per_unit():
    assert_close(update_of(lg.RFLO(FEEDBACK, np.full(HIDDEN, DECAY))), update_of(lg.RFLO(FEEDBACK, DECAY)), EQUAL)
    assert distance(update_of(lg.RFLO(FEEDBACK, GAMMA)), update_of(lg.RFLO(FEEDBACK, DECAY))) > DIFFERENT
    assert distance(update_of(lg.RFLO(FEEDBACK, GAMMA)), update_of(lg.RFLO(FEEDBACK, GAMMA[::-1]))) > DIFFERENT


def test_decays_equal_to_a_diagonal_jacobian_are_eprop():
    student = (A, DIAGONAL_W, B)
    rflo = update_of(lg.RFLO(FEEDBACK, np.diag(DIAGONAL_W)), student)
    assert_close(rflo, update_of(lg.EProp(FEEDBACK), student), EQUAL)


def test_the_sign_of_the_feedback_is_the_sign_of_the_update():
    there, back = update_of(lg.RFLO(FEEDBACK, DECAY)), update_of(lg.RFLO(-FEEDBACK, DECAY))
    assert_close(back, (there[0], -there[1], -there[2]), EQUAL)
