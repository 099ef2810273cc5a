"""What a parameter of a run may be given as: a value, a distribution to draw it from, or several of them on an axis.

    decay = 0.5                                       in [run]: the same in all runs
    w = {uniform = [-0.9, 0.9]}                       in [run]: drawn in each run
    decay = [0.0, 0.3, 0.6]                           in [axes]: these values
    decay = {from = 0.0, to = 0.9, num = 10}          in [axes]: a range; spacing = "log" for a geometric one
    decay = {uniform = [0.0, 0.9], num = 50}          in [axes]: this many values, drawn once
    seed = 20                                         in [axes]: 20 repetitions, numbered from 0

Pydantic judges the forms; the values themselves are judged by the parameter they are for (`kinds/kind.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from scipy.special import ndtri

from localgrad.sweeps.draws import uniforms

Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Pair = Annotated[list[Number], Field(min_length=2, max_length=2)]

DISTRIBUTIONS = ("uniform", "log_uniform", "normal")
"""The words by which a distribution is known."""


class Table(BaseModel):
    """A table of which every key is known, and every value of the kind it must be."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Distribution(Table):
    """One of `uniform = [low, high]`, `log_uniform = [low, high]`, `normal = [mean, deviation]`."""

    uniform: Pair | None = None
    log_uniform: Pair | None = None
    normal: Pair | None = None

    @field_validator("uniform", "log_uniform")
    @classmethod
    def _rises(cls, pair: list[float]) -> list[float]:
        if not pair[0] < pair[1]:
            raise ValueError(f"the ends {pair} must rise; give [low, high]")
        return pair

    @model_validator(mode="after")
    def _is_one(self) -> Distribution:
        given = [name for name in DISTRIBUTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(DISTRIBUTIONS)}")
        if given == ["log_uniform"] and self.numbers[0] <= 0:
            raise ValueError("a log_uniform distribution has positive ends")
        if given == ["normal"] and self.numbers[1] < 0:
            raise ValueError("a normal distribution has a deviation of at least 0")
        return self

    @property
    def name(self) -> str:
        """Which of the distributions this is."""
        return next(name for name in DISTRIBUTIONS if getattr(self, name) is not None)

    @property
    def numbers(self) -> list[float]:
        """Its two numbers."""
        return getattr(self, self.name)

    @property
    def reach(self) -> tuple[float, float]:
        """Between which numbers nearly all that is drawn lies: all but a thousandth."""
        return tuple(float(x) for x in self._at(np.array([0.0005, 0.9995])))  # type: ignore[return-value]

    def draw(self, keys: np.ndarray) -> np.ndarray:
        """A number for each key."""
        return self._at(uniforms(keys))

    def _at(self, shares: np.ndarray) -> np.ndarray:
        """The numbers below which these shares of what is drawn lie."""
        first, second = self.numbers
        if self.name == "normal":
            return first + second * ndtri(shares)
        if self.name == "log_uniform":
            return np.exp(np.log(first) + np.log(second / first) * shares)
        return first + (second - first) * shares


class DrawnAxis(Distribution):
    """An axis of `num` values drawn from a distribution."""

    num: Count

    def values(self, keys: np.ndarray) -> list[float]:
        """A value for each key."""
        return self.draw(keys).tolist()


class Range(Table):
    """An axis of `num` values from one number to another, both included."""

    from_: Annotated[Number, Field(alias="from")]
    to: Number
    num: Count
    spacing: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _can_be_spaced(self) -> Range:
        if self.spacing == "log" and min(self.from_, self.to) <= 0:
            raise ValueError('a range with spacing = "log" has positive ends')
        return self

    def values(self) -> list[float]:
        """Its values."""
        space = np.geomspace if self.spacing == "log" else np.linspace
        with np.errstate(all="ignore"):
            found = space(self.from_, self.to, self.num).tolist()
        if not np.all(np.isfinite(found)):
            raise ValueError(f"the range from {self.from_:g} to {self.to:g} is too wide for a computer's numbers")
        return [int(x) for x in found] if all(x == int(x) for x in found) else found


def _form_of_axis(value: Any) -> str:
    if isinstance(value, dict):
        return "drawn" if set(DISTRIBUTIONS) & set(value) else "range"
    return "count" if isinstance(value, int) else "list"


AxisForm = Annotated[
    Annotated[Count, Tag("count")]
    | Annotated[Range, Tag("range")]
    | Annotated[DrawnAxis, Tag("drawn")]
    | Annotated[list[Any], Field(min_length=1), Tag("list")],
    Discriminator(_form_of_axis),
]
"""What an axis may be given as."""


def is_distribution(value: Any) -> bool:
    """Whether a value of `[run]` is a distribution."""
    return isinstance(value, dict) and bool(set(DISTRIBUTIONS) & set(value))
