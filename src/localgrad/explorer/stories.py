"""Guided steps: what there is to see, each a saved state with two sentences and one thing to try.

Every number in a story is measured by the tests (tests/explorer/test_stories.py) in the picture that the story shows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from localgrad.explorer.state import State

BPTT = {"feedback_share": 0.0, "propagator_share": 0.0}
RFLO = {"feedback_share": 1.0, "propagator_share": 1.0, "feedback": 1.0, "decay": 0.5}


class Story(NamedTuple):
    """A step: its name in links, its title, what to see, what to try, and the state to see it in."""

    name: str
    title: str
    text: str
    to_try: str
    state: dict[str, Any]


STORIES = (
    Story(
        "saddle",
        "BPTT waits at a saddle",
        "From very small weights BPTT and truncated BPTT do not move until learning time 7: they also rest where a "
        "and b are 0, though not stably. RFLO's fixed feedback does not vanish there, and its loss has halved at "
        "time 0.7.",
        "Put the start ten times as far from the middle, at a = b = 0.01: BPTT waits 2.3 less, the logarithm of ten.",
        BPTT | {"feedback": 1.0, "start_a": 0.001, "start_b": 0.001, "start_w": 0.0, "fixed": 0.0},
    ),
    Story(
        "sign",
        "The sign of the feedback decides the side",
        "All rules have the same optima, one family with readout a > 0 and one with a < 0. With positive feedback "
        "RFLO is stable on the first only: it ends there from 57 % of these starts, and on the other from none.",
        "Move the feedback â through 0 to −1: the map turns upside down, and 57 % end at a < 0.",
        RFLO | {"fixed": 0.0, "start_w": 0.0},
    ),
    Story(
        "detour",
        "A detour",
        "This student begins beside an optimum, which BPTT reaches by a way of 0.23. Under RFLO with feedback −1 "
        "that side is unstable: the student crosses over by a way of 4.7, and its loss first rises to ten times "
        "what it was.",
        "Drag the start to the left across a = 0: the detour becomes shorter, and the rise of the loss vanishes.",
        RFLO | {"feedback": -1.0},
    ),
    Story(
        "poles",
        "Poles decide whether learning diverges",
        "From half of these starts RFLO diverges: w leaves the unit circle on its way. State-space layers do not "
        "train w, but a number that w is the tanh of, and then every one of these starts converges.",
        "Switch the poles from direct to tanh, and back.",
        RFLO | {"feedback": -1.0},
    ),
    Story(
        "rates",
        "Which rule is faster depends on where it arrives",
        "Along the branch a = s > 0 BPTT converges slowest at s = 1, at a rate of 3.2, where RFLO has 2.4. RFLO is the "
        "faster one below s = 0.25, where the curves cross.",
        "Halve the feedback â to 0.5: RFLO’s rates fall, and it overtakes BPTT only below s = 0.16.",
        RFLO | {"view": "rates"},
    ),
    Story(
        "delay",
        "Errors one step late",
        "Here the teacher's w* is negative, and errors reach the synapses one step late: no optimum of this branch is "
        "stable any more, under any of the three rules. Two steps late, BPTT and RFLO are stable everywhere again.",
        "Move the delay from 1 to 2, or w* to 0.8.",
        RFLO | {"view": "rates", "teacher_w": -0.8, "delay": 1},
    ),
    Story(
        "rank",
        "RFLO changes as many dimensions as there are outputs",
        "Ten units learn from a teacher with two outputs, unaligned at first. Under RFLO the change of W has two "
        "singular values at every moment, however long it learns: proposition 3.1 of the paper.",
        "Choose BPTT: the other eight grow too, though little.",
        RFLO | {"view": "network", "teacher_modes": 2},
    ),
    Story(
        "alignment",
        "Networks align, and then their modes learn on their own",
        "A random student's inputs and outputs align with the teacher's modes while the loss is still flat. From "
        "there on the equations of single modes (dashed) say how each gain and each recurrent weight goes on.",
        "Make the first weights larger: at 0.4 the modes align later, and at 0.5 never well enough for the theory "
        "to begin.",
        BPTT | {"view": "network"},
    ),
)


def describe_stories() -> list[dict[str, Any]]:
    """The stories for the page, each with the whole of its state."""
    return [
        {"name": s.name, "title": s.title, "text": s.text, "try": s.to_try,
         "state": State(**s.state, story=s.name).model_dump()}
        for s in STORIES
    ]  # fmt: skip
