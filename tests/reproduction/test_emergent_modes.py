"""Networks against mode equations: an aligned network is followed exactly, from wherever the equations start."""

import numpy as np
import pytest

from localgrad.diagnostics.alignment import EffectiveModes
from localgrad.models.aligned import Mode
from localgrad.modes.trajectory import learn_mode
from localgrad.reproduction.networks.emergent_alignment.modes import EQUATIONS, OWN, follow_modes
from localgrad.rules.presets import BPTT, RFLO, EProp, ThreeFactor, TruncatedBPTT

TIMES = np.array([0.0, 0.5, 1.5, 4.0])
TEACHER = Mode(np.array([2.0, 1.0]), np.ones(2), np.array([0.8, 0.4]))
DECAY, FEEDBACK = 0.5, np.array([0.9, 1.2])


def modes_along(rule_of):
    """Two modes of one student, at `TIMES`, by the independent integrator of single modes."""
    shape = (1, len(TIMES), 2)
    a, b, w = (np.zeros(shape) for _ in range(3))
    for k in range(2):
        teacher, start = Mode(*(float(x[k]) for x in TEACHER)), Mode(0.3, 0.2, 0.05)
        ends = [learn_mode(rule_of(FEEDBACK[k]), start, teacher, duration=t).final if t else start for t in TIMES]
        a[0, :, k], b[0, :, k], w[0, :, k] = np.array(ends).T
    return EffectiveModes(Mode(a, b, w), TEACHER, np.broadcast_to(FEEDBACK, shape))


RULES = {
    make(1.0).key: make
    for make in (lambda _: BPTT(), lambda _: TruncatedBPTT(1), lambda f: RFLO(f, DECAY), EProp, ThreeFactor)
}


def test_every_rule_of_the_experiment_has_equations():
    assert set(RULES) == set(EQUATIONS)
    assert set(OWN.values()) <= set(EQUATIONS)


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("key", EQUATIONS)
def test_modes_that_obey_the_equations_are_predicted(key, start):
    modes = modes_along(RULES[key])
    predicted = follow_modes(key, modes, TIMES, start, DECAY)
    for found, expected in zip(predicted, modes.student, strict=True):
        assert found.shape == (1, len(TIMES), 2)
        # The ensemble's error over a whole trajectory is about 1e-6 at its default tolerances.
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_modes_that_obey_other_equations_are_not():
    modes = modes_along(lambda _: BPTT())
    predicted = follow_modes(TruncatedBPTT(1).key, modes, TIMES, 0, DECAY)
    assert np.abs(predicted.w - modes.student.w).max() > 0.01
