"""Every story says what its picture shows: its numbers are measured here, in the state that it opens."""

import numpy as np
import pytest

from localgrad.explorer.state import read_state
from localgrad.explorer.stories import STORIES, describe_stories
from localgrad.explorer.views.mode_space import basin
from localgrad.explorer.views.network import network
from localgrad.explorer.views.paths import paths
from localgrad.explorer.views.rates import rates

STATES = {story["name"]: story["state"] for story in describe_stories()}


def state_of(name, **changes):
    return read_state(STATES[name] | changes)


def shares(state):
    """Of the map with 256 starts along each side."""
    maps = (part for part in basin(state, True) if part is not None)
    return next(header["shares"] for header, _ in maps if header["count"] == 256)


def along(state):
    """Of each rule its outcome and its learning time of half the loss; rules by their keys."""
    header, arrays = next(paths(state, True))
    for found in header["found"]:
        loss = arrays[f"loss{found['place']}"]
        found["half"] = float(np.interp(-loss[0] / 2, -loss, arrays["time"]))
    return {found["key"]: found for found in header["found"]}


def test_every_story_has_its_test_and_opens_a_state_that_names_it():
    names = [story.name for story in STORIES]
    assert {f"test_{name}" for name in names} <= set(globals())
    assert len(set(names)) == len(names)
    for name in names:
        assert state_of(name).story == name


def test_stories_are_two_sentences_and_one_thing_to_try():
    for story in STORIES:
        assert story.text.count(". ") == 1, story.name
        assert story.text.endswith(".")
        assert story.to_try.endswith(".")


def test_saddle():
    near = along(state_of("saddle"))
    far = along(state_of("saddle", start_a=0.01, start_b=0.01))
    assert near["bptt"]["half"] == pytest.approx(7.0, abs=0.2)
    assert near["tbptt-1"]["half"] == pytest.approx(7.0, abs=0.3)
    assert near["rflo"]["half"] == pytest.approx(0.7, abs=0.05)
    assert near["bptt"]["half"] - far["bptt"]["half"] == pytest.approx(np.log(10), abs=0.05)


def test_sign():
    plus, minus = shares(state_of("sign")), shares(state_of("sign", feedback=-1.0))
    assert plus["converged, s > 0"] == minus["converged, s < 0"] == pytest.approx(0.57, abs=0.005)
    assert plus["converged, s < 0"] == minus["converged, s > 0"] == 0


def test_detour():
    found = along(state_of("detour"))
    assert found["bptt"]["length"] == pytest.approx(0.23, abs=0.005)
    assert found["rflo"]["length"] == pytest.approx(4.7, abs=0.05)
    assert found["rflo"]["peak"] == pytest.approx(10, abs=0.7)
    assert (found["bptt"]["branch"], found["rflo"]["branch"]) == (1, -1)
    left = along(state_of("detour", start_a=-0.5))["rflo"]
    assert left["length"] < found["rflo"]["length"]
    assert left["peak"] == pytest.approx(1)


def test_poles():
    direct, bounded = shares(state_of("poles")), shares(state_of("poles", poles="tanh"))
    assert direct["diverged"] == pytest.approx(0.5, abs=0.01)
    assert bounded["converged, s < 0"] == 1


def rates_of(name, **changes):
    """Of each rule what the view says of it, with its curve; and the values of s."""
    header, arrays = next(rates(state_of(name, **changes), True))
    curves = {found["key"]: arrays[f"rate{found['place']}"] for found in header["found"]}
    return {found["key"]: found for found in header["found"]}, curves, arrays["s"]


def test_rates():
    found, curves, s = rates_of("rates")
    assert s[np.argmin(curves["bptt"])] == pytest.approx(1, abs=0.02)
    at_one = {key: float(np.interp(1, s, curve)) for key, curve in curves.items()}
    assert (at_one["bptt"], at_one["rflo"]) == (pytest.approx(3.2, abs=0.05), pytest.approx(2.4, abs=0.05))
    assert found["bptt"]["crossings"] == [pytest.approx(0.25, abs=0.005)]
    assert np.all((curves["rflo"] > curves["bptt"]) == (s < found["bptt"]["crossings"][0]))
    half, slower, _ = rates_of("rates", feedback=0.5)
    assert half["bptt"]["crossings"] == [pytest.approx(0.16, abs=0.005)]
    assert np.all(slower["rflo"] < curves["rflo"])


def test_delay():
    late, later, positive = (rates_of("delay", **changes)[0] for changes in ({}, {"delay": 2}, {"teacher_w": 0.8}))
    assert [late[key]["stable"] for key in ("bptt", "tbptt-1", "rflo")] == [0, 0, 0]
    assert [later[key]["stable"] for key in ("bptt", "rflo")] == [1, 1]
    assert [positive[key]["stable"] for key in ("bptt", "rflo")] == [1, 1]


@pytest.mark.slow
def test_rank():
    header, arrays = next(network(state_of("rank"), True))
    assert header["rule"] == "RFLO"
    change = arrays["change"]
    assert change.shape[0] == 10
    assert (change[2:] < 1e-6 * change[:1].max()).all()
    assert (change[1] > 0.1).any()
    full = next(network(state_of("rank", feedback_share=0.0, propagator_share=0.0), True))[1]["change"][:, -1]
    assert (full > 1e-9 * full[0]).all()
    assert np.median(full) < 0.01 * full[0]


@pytest.mark.slow
def test_alignment():
    _, arrays = next(network(state_of("alignment"), True))
    aligned = arrays["input_output"].min(axis=0) >= 0.9
    first = int(np.argmax(aligned))
    assert 0 < first < aligned.size - 1
    assert arrays["loss"][first] > 0.7 * arrays["loss"][0]
    off = np.abs(arrays["predicted_w"] - arrays["w"])[:, first:]
    assert off.max() < 0.15
    larger, largest = (next(network(state_of("alignment", weight_scale=x), True))[1] for x in (0.4, 0.5))
    assert np.argmax(larger["input_output"].min(axis=0) >= 0.9) > first
    assert largest["input_output"].min(axis=0).max() < 0.9
    assert np.isnan(largest["predicted_w"]).all()
