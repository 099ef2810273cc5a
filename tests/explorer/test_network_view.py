"""The network view: what it sends is what `lg.learn` and the mode equations give, and its program says the same."""

import numpy as np
import pytest

import localgrad as lg
from localgrad.explorer.state import read_state
from localgrad.explorer.views import network as view

pytestmark = pytest.mark.slow  # networks compile programs of their own
FIELDS = {"feedback": 1.0, "units": 6, "teacher_modes": 2, "learning_time": 20.0}


@pytest.fixture(scope="module")
def sent():
    return next(view.network(read_state(FIELDS), True))


def test_what_is_sent_is_the_exact_learning_curve(sent):
    header, found = sent
    student, teacher, R = view.scene(read_state(FIELDS))
    times = np.r_[0.0, np.geomspace(1e-3, 1.0, view.MOMENTS - 1)] * 20.0
    curve = lg.learn(lg.RFLO(R, 0.5), student, teacher, duration=20.0, save_at=times)  # by the default tolerances
    assert header["outcome"] == str(curve.outcome)
    assert header["rule"] == "RFLO"
    np.testing.assert_allclose(found["time"], times, rtol=1e-6)
    np.testing.assert_allclose(found["loss"], curve.at(times), rtol=0.02, atol=1e-4 * curve.silent_loss)
    np.testing.assert_allclose(found["change"][:, -1], curve.spectrum.W.singular_values[-1], atol=2e-3)
    radius = np.hypot(found["real"], found["imaginary"]).max(axis=0)
    np.testing.assert_allclose(radius[-1], np.abs(np.linalg.eigvals(curve.final.W)).max(), atol=2e-3)
    assert (found["change"][2:, -1] < 1e-6).all()  # proposition 3.1: rank at most two outputs


def test_mode_theory_begins_where_the_modes_are_aligned_and_ends_at_the_teachers(sent):
    _, found = sent
    begun = np.isfinite(found["predicted_w"]).all(axis=0)
    aligned = found["input_output"].min(axis=0) >= view.ALIGNED
    first = int(np.argmax(aligned))
    assert 0 < first < view.MOMENTS - 1
    np.testing.assert_array_equal(begun, np.arange(view.MOMENTS) >= first)
    np.testing.assert_allclose(found["predicted_w"][:, first], found["w"][:, first], atol=1e-6)
    np.testing.assert_allclose(found["predicted_w"][:, -1], [0.8, 0.4], atol=1e-2)
    np.testing.assert_allclose(found["predicted_gain"][:, -1], [1.0, 0.72], atol=1e-2)


def test_a_course_that_ends_early_is_sent_as_far_as_it_goes():
    state = read_state(FIELDS | {"feedback": -3.0, "weight_scale": 1.0, "teacher_w": 0.97, "decay": 0.95})
    header, found = next(view.network(state, True))
    assert header["outcome"] == "diverged"
    assert found["time"][-1] <= header["ended"] < 20.0
    assert {x.shape[-1] for x in found.values()} == {len(found["time"])}
    assert np.isfinite(found["loss"]).all()


def test_the_program_gives_the_same_curve(sent):
    header, found = sent
    names = {}
    exec(header["snippet"], names)  # ours, not a user's
    curve = names["curve"]
    assert str(curve.outcome) == header["outcome"]
    np.testing.assert_allclose(
        found["loss"], curve.at(found["time"].clip(0, 20.0)), rtol=0.02, atol=1e-4 * curve.silent_loss
    )
