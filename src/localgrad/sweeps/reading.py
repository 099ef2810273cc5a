"""From a file, or a mapping with its keys, to a `Definition`; and what is wrong, in a sentence with line and key.

    kind = "modes"
    random_seed = 0

    [run]                              # what all runs share
    rule = "rflo"
    a = {normal = [0.0, 1.0]}          # drawn in each run
    …
    [axes]                             # what differs: every combination is run
    decay = {from = 0.0, to = 0.9, num = 10}
    seed = 1000
    [draws]                            # which axes a draw is made anew for; along all others runs are paired
    a = ["seed"]

Without a line in `[draws]` a source is drawn anew for each `seed` and shared along every other axis. The form is judged
by Pydantic, values by the parameters of the kind of run. A file is data: nothing of it is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from localgrad.sweeps.axes import SEED, Axis, axis_of_choices, axis_of_numbers, seed_axis
from localgrad.sweeps.definition import Definition, text_of
from localgrad.sweeps.draws import codes_of, keys_of
from localgrad.sweeps.kinds.catalogue import KINDS, find_kind
from localgrad.sweeps.kinds.kind import REQUIRED, Kind
from localgrad.sweeps.names import check_axis_name, is_setting, label_of
from localgrad.sweeps.values import AxisForm, Distribution, DrawnAxis, Range, Table, is_distribution
from localgrad.tasks.toml_files import first_fault, line_of, parse_toml, read_toml

MOST_RUNS = 10**12
"""Runs beyond which a grid is refused unseen."""

MOST_VALUES = 10**8
"""Values that an axis may have; they are kept in memory."""

_AXIS: TypeAdapter[Any] = TypeAdapter(AxisForm)
_DISTRIBUTION: TypeAdapter[Distribution] = TypeAdapter(Distribution)


class SweepFile(Table):
    """The form of a file; what stands in its tables is judged later."""

    kind: str
    title: str = ""
    random_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    chunk: Annotated[int, Field(ge=1, le=2**31)] | None = None
    record: Annotated[list[str], Field(min_length=1)] | None = None
    run: dict[str, Any] = Field(default_factory=dict)
    axes: Annotated[dict[str, Any], Field(min_length=1)]
    draws: dict[str, list[str]] = Field(default_factory=dict)


def read_definition(path: Path) -> Definition:
    """The sweep in a TOML file; `ValueError` naming the file, the line, the key and the remedy."""
    text, where = read_toml(path, "sweep"), f"sweep {str(path)!r}"
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return _Reader(path.parent, text, where).definition(document)


def define(document: Mapping[str, Any], folder: Path) -> Definition:
    """The sweep of a document, whose files are named as seen from `folder`; `ValueError` with key and remedy."""
    return _Reader(folder, "", "the sweep").definition(document)


class _Reader:
    """Reads a document; every fault becomes a `ValueError` that says where it is: the file, the line, the key."""

    def __init__(self, folder: Path, text: str, where: str):
        self.folder, self.text, self.where = folder, text, where

    def definition(self, document: Mapping[str, Any]) -> Definition:
        found = self._judged((), lambda: SweepFile.model_validate(dict(document)))
        kind = self._told(("kind",), lambda: find_kind(found.kind))
        for name in found.axes:
            self._told(("axes", name), lambda name=name: check_axis_name(name, [*kind.variables, "status"]))
        self._check_names(("run",), found.run, kind.parameters)
        forms = {name: self._form(name, value) for name, value in found.axes.items()}
        self._check_size(kind, forms)
        run = {name: self._shared(kind, name, value) for name, value in found.run.items()}
        axes = tuple(self._axis(kind, name, form, found.random_seed) for name, form in forms.items())
        self._check_complete(kind, run, axes)
        draws = self._draws(kind, run, axes, found.draws)
        record = self._record(kind, found.record)
        definition = Definition(kind, found.title, found.random_seed, run, axes, draws, record, found.chunk)
        return replace(definition, unused=self._try(definition))

    # --- faults ---

    def _fail(self, keys: tuple[str, ...], message: str) -> None:
        raise ValueError(f"{self.where}{line_of(keys, self.text)}: {'.'.join(keys)}: {message}")

    def _told(self, keys: tuple[str, ...], call: Any) -> Any:
        try:
            return call()
        except ValidationError as error:
            fault = first_fault(error, self.text, what="run", kinds=", ".join(KINDS), within=keys)
            raise ValueError(f"{self.where}{fault}") from None
        except ValueError as error:
            return self._fail(keys, str(error))

    _judged = _told

    def _check_names(self, tables: tuple[str, ...], given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        for name in given:
            if name not in known:
                self._fail((*tables, name), f"there is no such name here; the names are {', '.join(known)}")

    # --- axes ---

    def _form(self, name: str, value: Any) -> Any:
        plain = list(value) if isinstance(value, tuple | np.ndarray) else value
        if isinstance(plain, bool) or not isinstance(plain, dict | list | int):
            what = "a number of repetitions, such as 20" if name == SEED else "a list, a range or a distribution"
            self._fail(("axes", name), f"give {what}, not {plain!r:.40}")
        form = self._judged(("axes", name), lambda: _AXIS.validate_python(plain))
        if isinstance(form, int) and name != SEED:
            self._fail(("axes", name), f"give a list, a range or a distribution, not {form}; only seed takes a count")
        if not isinstance(form, int) and name == SEED:
            self._fail(("axes", name), "give a number of repetitions, such as seed = 20")
        return form

    def _check_size(self, kind: Kind, forms: Mapping[str, Any]) -> None:
        sizes = {name: _length(form) for name, form in forms.items()}
        count = math.prod(sizes.values())
        if count > MOST_RUNS:
            grid = " × ".join(f"{size:,}" for size in sizes.values())
            years = count * kind.seconds / (365.25 * 86400)
            self._fail(("axes",), f"the grid has {grid} = {count:,} runs, about {years:,.0f} years of one core (a "
                       "rough estimate); shorten the axes")  # fmt: skip
        for name, size in sizes.items():
            if size > MOST_VALUES:
                self._fail(("axes", name), f"it has {size:,} values, more than {MOST_VALUES:,}; split it over two axes")

    def _axis(self, kind: Kind, name: str, form: Any, seed: int) -> Axis:
        if isinstance(form, int):
            return seed_axis(form)
        if isinstance(form, Range):
            return self._axis_of_values(kind, name, self._told(("axes", name), form.values))
        if isinstance(form, DrawnAxis):
            places = {"place": codes_of(np.arange(form.num))}
            return self._axis_of_values(kind, name, form.values(keys_of(seed, f"axis {name}", places, form.num)))
        return self._axis_of_values(kind, name, form)

    def _axis_of_values(self, kind: Kind, name: str, values: list[Any]) -> Axis:
        if name not in kind.parameters and not all(map(is_setting, values)):
            self._fail(("axes", name), f"there is no such parameter; the parameters are {', '.join(kind.parameters)}; "
                       "or give tables with a label that set several of them")  # fmt: skip
        settings = [self._settings(kind, name, value) for value in values]
        texts = [json.dumps({k: text_of(kind.parameters[k], v) for k, v in sorted(s.items())}) for s in settings]
        if len(set(texts)) < len(texts):
            twice = next(i for i, text in enumerate(texts) if text in texts[:i])
            self._fail(("axes", name), f"the value {values[twice]!r:.60} stands twice; leave one out")
        plain = [s.get(name) for s in settings]
        if all(type(x) in (int, float) for x in plain) and not any(map(is_setting, values)):
            return axis_of_numbers(name, plain)
        labels = [self._told(("axes", name), lambda value=value: label_of(value)) for value in values]
        if len(set(labels)) < len(labels):
            self._fail(("axes", name), "two values have one label; give each a label of its own")
        return axis_of_choices(name, labels, settings, texts)

    def _settings(self, kind: Kind, name: str, value: Any) -> dict[str, Any]:
        if not is_setting(value):
            return {name: self._value(kind, name, value, ("axes", name))}
        given = {key: x for key, x in value.items() if key != "label"}
        self._check_names(("axes", name), given, kind.parameters)
        return {key: self._value(kind, key, x, ("axes", name, key)) for key, x in given.items()}

    def _value(self, kind: Kind, name: str, value: Any, keys: tuple[str, ...]) -> Any:
        parameter = kind.parameters[name]
        plain = value.item() if isinstance(value, np.generic) else value
        return self._told(keys, lambda: parameter.load(parameter.checked(plain), self.folder))

    # --- what all runs share ---

    def _shared(self, kind: Kind, name: str, value: Any) -> Any:
        if is_distribution(value):
            found = self._judged(("run", name), lambda: _DISTRIBUTION.validate_python(value))
            for value in found.reach:  # a parameter that takes numbers, all that are drawn
                self._value(kind, name, value, ("run", name))
            return found
        return self._value(kind, name, value, ("run", name))

    def _check_complete(self, kind: Kind, run: Mapping[str, Any], axes: tuple[Axis, ...]) -> None:
        setters: dict[str, list[Axis]] = {}
        for axis in axes:
            for name in axis.parameters:
                setters.setdefault(name, []).append(axis)
        for name, found in setters.items():
            if len(found) > 1:
                self._fail(("axes", found[1].name), f"it sets {name}, as axis {found[0].name} does; leave one out")
            if name in run and (found[0].settings is None or found[0].name == name):
                self._fail(("run", name), "it stands in [run] and in [axes]; leave one out")
        for name, parameter in kind.parameters.items():
            if parameter.default is not REQUIRED or name in run:
                continue
            by = setters.get(name, [])
            if not by or not (by[0].settings is None or all(name in x for x in by[0].settings)):
                self._fail(("run", name), f"it is missing; give the {parameter.about}")

    def _draws(
        self, kind: Kind, run: Mapping[str, Any], axes: tuple[Axis, ...], given: Mapping[str, list[str]]
    ) -> dict[str, tuple[str, ...]]:
        names = [axis.name for axis in axes]
        drawn = [*kind.sources, *(name for name, value in run.items() if isinstance(value, Distribution))]
        for name, chosen in given.items():
            if name not in drawn:
                self._fail(("draws", name), f"nothing is drawn there; what is drawn are {', '.join(drawn) or 'none'}")
            if unknown := [axis for axis in chosen if axis not in names]:
                self._fail(("draws", name), f"there is no axis {unknown[0]!r}; the axes are {', '.join(names)}")
        usual = [SEED] if SEED in names else []
        return {name: tuple(sorted(set(given.get(name, usual)))) for name in drawn}

    def _record(self, kind: Kind, given: list[str] | None) -> tuple[str, ...]:
        if given is None:
            return tuple(kind.variables)
        if unknown := [name for name in given if name not in kind.variables]:
            self._fail(("record",), f"nothing is called {unknown[0]!r}; give some of {', '.join(kind.variables)}")
        return tuple(name for name in kind.variables if name in given)

    def _try(self, definition: Definition) -> tuple[str, ...]:
        """Build what the first runs along each axis need, so that what no run can have is refused before the work.

        Returns what is given for all runs and taken by none of these.
        """
        first = tuple(axis.part(slice(0, 1)) for axis in definition.axes)
        kind, ignored = definition.kind, set(definition.kind.parameters)
        for place, axis in enumerate(definition.axes):
            for value in range(min(len(axis), 100)):
                chosen = (*first[:place], axis.part(slice(value, value + 1)), *first[place + 1 :])
                if value == 0 and place > 0:
                    continue
                row = definition.box(chosen).row(0)
                self._told(("axes", axis.name), lambda row=row: kind.build(row))
                ignored &= kind.ignored(row)
        for name in ignored.intersection(axis.name for axis in definition.axes):
            self._fail(
                ("axes", name), "no run takes it, by its rule and cell, so its values are all alike; leave it out"
            )
        return tuple(name for name in definition.run if name in ignored)


def _length(form: Any) -> int:
    return form if isinstance(form, int) else form.num if isinstance(form, Range | DrawnAxis) else len(form)
