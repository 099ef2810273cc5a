"""What the explorer shows, as one flat list of numbers and words: the *state*.

Everything follows from it: the link that restores a view, the sliders of the page (which are made from the fields
here, with their bounds and labels), the rule, the teacher, and the Python that reproduces the picture. A state from
outside is checked against the bounds; what does not fit is refused in one sentence.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from localgrad.checks import in_words
from localgrad.models.aligned import Mode
from localgrad.models.poles import POLES
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.presets import PAPER, PRESETS, make_rule, parameters_of
from localgrad.rules.rule import Rule

PLANES = {"ab": ("a", "b", "w"), "aw": ("a", "w", "b"), "bw": ("b", "w", "a")}
"""Planes of starts: what runs across, what runs up, and what is held fixed."""


def _number(*, default: float, within: tuple[float, float], step: float, label: str, **more: Any) -> Any:
    """A number with its bounds, for a slider of this step; `ends` are words for its two ends."""
    about: dict[str, Any] = {"step": step, "label": label} | more
    return Field(default=default, ge=within[0], le=within[1], allow_inf_nan=False, json_schema_extra=about)


class State(BaseModel):
    """What is shown. Field by field what the page offers; see the labels."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)

    view: Literal["modes", "rates", "network"] = "modes"
    # The rule: f = (1 − feedback_share) a + feedback_share · feedback, m = (1 − propagator_share) w + … · decay.
    feedback_share: float = _number(
        default=1.0, within=(0.0, 1.0), step=0.01, label="feedback blend", ends=("symmetric", "fixed")
    )
    feedback: float = _number(default=-1.0, within=(-3.0, 3.0), step=0.01, label="feedback â")
    propagator_share: float = _number(
        default=1.0, within=(0.0, 1.0), step=0.01, label="propagator blend", ends=("Jacobian", "decay")
    )
    decay: float = _number(default=0.5, within=(-0.99, 0.99), step=0.01, label="decay ŵ")
    lags: int = Field(default=0, ge=0, le=7, json_schema_extra={"step": 1, "label": "lags", "zero_word": "all"})
    delay: int = Field(default=0, ge=0, le=5, json_schema_extra={"step": 1, "label": "errors late by"})
    poles: Literal[tuple(POLES)] = Field(default="direct", json_schema_extra={"label": "poles"})  # type: ignore[valid-type]
    teacher_a: float = _number(default=1.0, within=(-3.0, 3.0), step=0.01, label="a*")
    teacher_b: float = _number(default=1.0, within=(-3.0, 3.0), step=0.01, label="b*")
    teacher_w: float = _number(default=0.8, within=(-0.99, 0.99), step=0.01, label="w*")
    plane: Literal[tuple(PLANES)] = Field(default="ab", json_schema_extra={"label": "plane"})  # type: ignore[valid-type]
    fixed: float = _number(default=0.6, within=(-6.0, 6.0), step=0.01, label="held at")
    extent: float = _number(default=3.0, within=(0.1, 6.0), step=0.1, label="reach of a, b")
    over: Literal["all", "rest points", "nothing"] = Field(default="all", json_schema_extra={"label": "drawn over it"})
    duration: float = _number(default=1000.0, within=(1.0, 100_000.0), step=1.0, label="learning time")
    start_a: float = _number(default=1.0, within=(-6.0, 6.0), step=0.01, label="start a")
    start_b: float = _number(default=1.0, within=(-6.0, 6.0), step=0.01, label="start b")
    start_w: float = _number(default=0.6, within=(-0.999, 0.999), step=0.001, label="start w")
    branch: Literal["s > 0", "s < 0"] = Field(default="s > 0", json_schema_extra={"label": "branch"})
    # Few sizes of networks: each compiles programs of its own.
    units: Literal[6, 10, 20] = Field(default=10, json_schema_extra={"label": "units"})
    teacher_modes: Literal[1, 2, 4] = Field(default=4, json_schema_extra={"label": "modes of the teacher"})
    weight_scale: float = _number(default=0.1, within=(0.01, 1.0), step=0.01, label="scale of first weights")
    seed: int = Field(default=0, ge=0, le=99, json_schema_extra={"step": 1, "label": "seed"})
    learning_time: float = _number(default=30.0, within=(1.0, 300.0), step=1.0, label="learning time")
    moment: float = _number(default=1.0, within=(0.0, 1.0), step=0.005, label="moment")
    story: str = Field(default="", pattern="^[a-z-]{0,20}$", json_schema_extra={"label": "story"})
    compare: str = Field(default=",".join(PAPER), max_length=200, json_schema_extra={"label": "beside it"})

    @model_validator(mode="after")
    def _known_rules(self) -> State:
        if unknown := [key for key in self.compared if key not in PRESETS]:
            raise ValueError(f"compare names an unknown rule {in_words(unknown[0])}; known: {', '.join(PRESETS)}")
        return self

    @property
    def compared(self) -> list[str]:
        """The names of the rules whose paths are drawn beside that of the sliders."""
        return [key for key in self.compare.split(",") if key]

    @property
    def teacher(self) -> Mode:
        """The teacher's mode."""
        return Mode(self.teacher_a, self.teacher_b, self.teacher_w)

    @property
    def start(self) -> Mode:
        """Where the paths begin."""
        return Mode(self.start_a, self.start_b, self.start_w)

    @property
    def rule(self) -> Rule:
        """The rule of the sliders; at the ends of a blend the part that is not there is left out.

        Where a named rule is the same one of a mode, it bears that name, and so that look.
        """
        found = self.rule_with(self.feedback)
        for named in (preset(key, self) for key in PRESETS):
            if named.lags == found.lags and named.affine == found.affine:
                found = Rule(found.feedback, found.propagator, found.lags, name=named.name, key=named.key)
                break
        return found.with_delay(self.delay)

    def rule_with(self, fixed: Any) -> Rule:
        """The rule of the sliders with this fixed feedback: a number, or the matrix of a network."""
        share, cut = self.feedback_share, self.propagator_share
        feedback = "symmetric" if share == 0 else fixed if share == 1 else Feedback.blend(share, fixed)
        propagator = "full" if cut == 0 else self.decay if cut == 1 else Propagator.blend(cut, self.decay)
        return Rule(feedback, propagator, self.lags or None, name="of the sliders")

    @property
    def rules(self) -> list[Rule]:
        """The rule of the sliders, then those beside it, with its feedback and decay where they take one."""
        own, others = self.rule, [preset(key, self).with_delay(self.delay) for key in self.compared]
        return [own, *(rule for rule in others if rule.key != own.key)]

    @property
    def axes(self) -> dict[str, tuple[float, float]]:
        """The plane: its two axes, across and up, each with its lower and upper end."""
        across, up, _ = PLANES[self.plane]
        poles = POLES[self.poles]
        reach = {"a": (-self.extent, self.extent), "b": (-self.extent, self.extent), "w": (poles.low, poles.high)}
        return {name: reach[name] for name in (across, up)}


def preset(name: str, state: State) -> Rule:
    """The rule of this name with the state's numbers, as far as it takes them."""
    numbers: dict[str, Any] = {"feedback": state.feedback, "decay": state.decay}
    return make_rule(name, **{key: value for key, value in numbers.items() if key in parameters_of(name)})


def read_state(value: Any) -> State:
    """A state from what came from outside; `ValueError` in one sentence for what is none."""
    if not isinstance(value, dict):
        raise ValueError(f"the state is {in_words(value)}; give an object of the fields of a state")
    try:
        return State(**{str(key): item for key, item in value.items()})
    except ValidationError as error:
        raise ValueError(_sentence(error.errors(include_url=False, include_context=False)[0])) from None
    except (TypeError, OverflowError):
        raise ValueError("the state holds what is no number or word; give an object of the fields of a state") from None


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])[:40]
    if not name:
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"a state has no field {in_words(name)}; leave it out"
    wish = str(problem["msg"]).removeprefix("Input should be ")
    return f"{name} is {in_words(problem['input'])}, but should be {wish}"


def describe_fields() -> dict[str, dict[str, Any]]:
    """The fields of a state for the page: default, bounds, step and label, or choices."""
    found = {}
    for name, field in State.model_json_schema()["properties"].items():
        keep = ("default", "minimum", "maximum", "enum", "step", "label", "ends", "zero_word", "type")
        found[name] = {key: field[key] for key in keep if key in field}
    return found


def describe_presets() -> list[dict[str, Any]]:
    """The named rules as positions of the sliders: what each sets, and which of the state's numbers it takes."""
    found = []
    for name in PRESETS:
        takes = [key for key in ("feedback", "decay") if key in parameters_of(name)]
        rule = preset(name, State())
        _, phi1, mu0, mu1 = (float(x) for x in rule.require_affine("the explorer"))
        place = {"feedback_share": 1.0 - phi1, "propagator_share": 1.0 - mu1, "lags": rule.lags or 0}
        if mu1 == 0 and "decay" not in takes:
            place["decay"] = mu0
        found.append({"name": name, "key": rule.key, "title": rule.name, "takes": takes, "place": place})
    return found
