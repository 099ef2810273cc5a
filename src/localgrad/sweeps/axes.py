"""An axis of the grid of runs: its values, what each sets, and what tells them apart.

Most axes give the parameter of their name several values. A value that is a table with a `label` sets several
parameters at once, so that an axis may also be a list of settings that belong together:

    rule = ["bptt", {label = "slow", rule = "rflo", decay = 0.9}]

The label, or the value itself, is the coordinate in the store. An axis called `seed` repeats runs, and sets nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.sweeps.draws import codes_of, digest

SEED = "seed"
"""The axis of repetitions."""


@dataclass(frozen=True)
class Axis:
    """An axis: coordinates, the parameters that each value sets (`None`: the one of the axis's name), and their texts.

    Where a value sets several parameters, or one that is no plain number, `settings` holds them and `texts` what tells
    them apart; both are `None` where the coordinates, whole numbers or floats, say all.
    """

    name: str
    labels: np.ndarray
    settings: tuple[dict[str, Any], ...] | None = None
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, where: slice) -> Axis:
        """The same axis, of some of its values."""
        return self.take(np.arange(len(self))[where])

    def take(self, order: Sequence[int] | np.ndarray) -> Axis:
        """The same axis, in another order."""
        settings = None if self.settings is None else tuple(self.settings[i] for i in order)
        texts = None if self.texts is None else tuple(self.texts[i] for i in order)
        return Axis(self.name, self.labels[np.asarray(order, int)], settings, texts)

    @property
    def parameters(self) -> set[str]:
        """The names of the parameters that at least one value sets."""
        if self.settings is None:
            return set() if self.name == SEED else {self.name}
        return {name for chosen in self.settings for name in chosen}

    @property
    def codes(self) -> np.ndarray:
        """64 bits for each value: of its number, or of the parameters it sets, whatever its label."""
        return codes_of(self.labels) if self.texts is None else np.array([digest(x) for x in self.texts], np.uint64)

    @property
    def identity(self) -> Any:
        """What tells the axis from others, in JSON: a count, numbers, or pairs of a label and a text."""
        if self.texts is not None:
            return [[str(label), text] for label, text in zip(self.labels, self.texts, strict=True)]
        if self.name == SEED:
            return len(self)
        return self.labels.tolist()


def seed_axis(count: int) -> Axis:
    """The axis of so many repetitions."""
    return Axis(SEED, np.arange(count))


def axis_of_numbers(name: str, values: Sequence[Any]) -> Axis:
    """An axis of plain numbers; whole ones stay whole."""
    return Axis(name, np.asarray(values))


def axis_of_choices(name: str, labels: Sequence[str], settings: Sequence[dict[str, Any]], texts: Sequence[str]) -> Axis:
    """An axis of settings."""
    return Axis(name, np.asarray(labels, dtype=np.dtypes.StringDType()), tuple(settings), tuple(texts))


def extended(axis: Axis, stored: Any) -> Axis:
    """The axis with the values of a stored one first, in their order there; `ValueError` where one of these is gone.

    **Arguments:** `stored`: an `identity`. So what is in a store keeps its place, and new values follow.
    """
    if isinstance(stored, int) and axis.settings is None and axis.name == SEED:
        if stored > len(axis):
            raise ValueError(f"axis seed: the store has {stored:,} repetitions, the file {len(axis):,}")
        return axis
    own = [json.dumps(x) for x in _listed(axis.identity)]
    there = [json.dumps(x) for x in _listed(stored)]
    places = {text: place for place, text in enumerate(own)}
    if gone := [text for text in there if text not in places]:
        raise ValueError(f"axis {axis.name}: the store has {gone[0][:60]}, which the file lacks")
    first = [places[text] for text in there]
    return axis.take(first + sorted(set(places.values()) - set(first)))


def _listed(identity: Any) -> list[Any]:
    return identity if isinstance(identity, list) else [identity]
