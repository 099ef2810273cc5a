r"""Runs of networks of cells as named arrays and words, and back; `learning/runs.py` makes files of them.

A network is stored as its arrays, and in words the kinds of its cells with what of them is no array. It is made again
by the constructors that make every network, from the arrays of its first seed, so that whatever they refuse is refused
here; the arrays of other seeds and of other times must then have the same shapes.

Limits: a cell, an activation or a task of one's own is code, which is in no file: give it when the run is loaded.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import numpy as np

from localgrad import cells, tasks
from localgrad.cells.block import Block, Layer, cell_of
from localgrad.cells.cell import Cell
from localgrad.cells.stack import Network, Readout, arrays_of_network
from localgrad.checks import check_finite, check_kind
from localgrad.learning.networks.result import NetworkRun
from localgrad.learning.networks.seeds import of_seed, seeds_of
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.tasks.reaching.loop import LoopTask
from localgrad.tasks.sequences import SequenceTask
from localgrad.updates.through_time import check_rule

Arrays = dict[str, Any]
Words = dict[str, Any]

_PLAIN = ("loss", "record_steps", "outcome", "diverged_at", "snapshot_steps")


def of_network_run(run: NetworkRun) -> tuple[Arrays, Words]:
    """The arrays and the words of a run."""
    arrays: Arrays = {name: getattr(run, name) for name in _PLAIN}
    arrays |= {f"records.{name}": value for name, value in run.records.items()}
    for name in ("initial", "final", "snapshots"):
        arrays |= {f"{name}.{key}": x for key, x in arrays_of_network(getattr(run, name)).items()}
    arrays |= {f"final_state.{i}": x for i, x in enumerate(run.final_rule.state)}
    task_arrays, task = _of_module(run.task, "task.")
    words = {"kind": "network", "batch_size": run.batch_size, "silent_loss": run.silent_loss, "task": task}
    words["network"] = {"layers": [_of_layer(layer) for layer in run.initial.layers]}
    return arrays | task_arrays, words


def network_run(arrays: Arrays, words: Words, rule: Rule, network: Any, task: Any) -> NetworkRun:
    """The run of these arrays and words; `network`, `task`: given by hand, or `None`."""
    one = _network_of(arrays, words["network"], "initial.") if network is None else _given(network, words["network"])
    lead = np.shape(arrays["initial.readout.A"])[:-2]
    if len(lead) > 1 or 0 in lead:
        raise ValueError(f"its networks have leading axes {lead[:5]}; there is one, of seeds")
    plain = {name: arrays[name] for name in _PLAIN}
    count = np.shape(plain["snapshot_steps"])[:1]
    final_rule = rule.at(tuple(arrays[f"final_state.{i}"] for i in range(len(rule.state))))
    run = NetworkRun(
        rule=rule,
        task=_task_of(arrays, words["task"]) if task is None else _same_task(task, arrays, words["task"]),
        batch_size=words["batch_size"],
        silent_loss=float(words["silent_loss"]),
        initial=_arrays_like(one, arrays, "initial.", lead),
        final=_arrays_like(one, arrays, "final.", lead),
        final_rule=final_rule,
        records={name.removeprefix("records."): x for name, x in arrays.items() if name.startswith("records.")},
        snapshots=_arrays_like(one, arrays, "snapshots.", (*lead, *count)) if count != (0,) else None,
        **plain | {"outcome": plain["outcome"] if lead else Outcome(int(plain["outcome"]))},
    )
    _check(run, lead)
    check_rule(run.rule.of_seed(0), one)
    return run


# --- networks --------------------------------------------------------------------------------------------------------


def _of_layer(layer: Layer) -> Words:
    cell = cell_of(layer)
    static = {f.name: getattr(cell, f.name) for f in fields(cell) if f.metadata.get("static")}
    plain = {name: value for name, value in static.items() if not callable(value)}
    found = {"cell": type(cell).__name__, "static": plain, "callable": sorted(set(static) - set(plain))}
    if isinstance(layer, Block):
        found["block"] = {"norm": layer.norm, "residual": layer.residual}
    return found


def _kinds() -> dict[str, type]:
    known = ((name, getattr(cells, name)) for name in dir(cells))
    return {name: kind for name, kind in known if isinstance(kind, type) and issubclass(kind, Cell)}


def _network_of(arrays: Arrays, words: Words, prefix: str) -> Network:
    """The network of the first seed, made by the constructors of its parts."""
    lead = np.ndim(arrays[f"{prefix}readout.A"]) - 2

    def array(name: str) -> Any:
        value = arrays.get(prefix + name)
        return value if value is None else value[(0,) * lead]

    layers = [_layer_of(array, given, f"layers[{i}]") for i, given in enumerate(words["layers"])]
    feedback = [array(f"feedback[{i}]") for i in range(len(layers) - 1)]
    readout = Readout(array("readout.A"), array("readout.bias"))
    return Network(layers, readout, feedback if layers[1:] and feedback[0] is not None else None)


def _layer_of(array: Any, words: Words, name: str) -> Layer:
    kinds, block = _kinds(), words.get("block")
    if words["cell"] not in kinds or words["callable"]:
        raise ValueError(
            f"its cell {str(words['cell'])[:40]!r} has code of its own, which is in no file; give such a network as "
            "network=..."
        )
    kind, place = kinds[words["cell"]], f"{name}.cell" if block else name
    static = {key: tuple(x) if isinstance(x, list) else x for key, x in words["static"].items()}
    names = [f.name for f in fields(kind) if f.init and not f.metadata.get("static")]
    own = {key: array(f"{place}.{key}") for key in names}
    # A parameter of units that is not there has its default; what may be absent is None.
    given = {key: x for key, x in own.items() if x is not None or key in ("W", "bias", "mask", "signs")}
    cell = kind(**given, **static)
    return Block(cell, array(f"{name}.value"), array(f"{name}.gate"), **block) if block else cell


def _given(network: Any, words: Words) -> Network:
    """One network as an example of the stored ones; `ValueError` where its cells are others."""
    check_kind("network", network, Network, "give one like that of the run")
    one = of_seed(network, 0) if seeds_of(network) else network
    if [type(cell_of(layer)).__name__ for layer in one.layers] != [given["cell"] for given in words["layers"]]:
        raise ValueError("the network given has other cells than those of the run; give one like it")
    return one


def _arrays_like(one: Network, arrays: Arrays, prefix: str, lead: tuple[int, ...]) -> Network:
    """The network with the arrays under a prefix, whose shapes must be those of one network after `lead`."""
    found = []
    for name, x in arrays_of_network(one).items():
        value = arrays[prefix + name]
        if value.shape != (*lead, *x.shape) or value.dtype.kind != "f":
            raise ValueError(f"its {prefix}{name} has shape {value.shape} of {value.dtype}, but {lead + x.shape} fits")
        found.append(value)
    network = jax.tree.unflatten(jax.tree.structure(one), found)
    check_finite(f"{prefix}network".replace(".", " "), network)
    return network


# --- tasks -----------------------------------------------------------------------------------------------------------


def _of_module(module: Any, prefix: str) -> tuple[Arrays, Words]:
    """The fields that make a task, or a part of one: arrays, what JSON holds, and parts of their own."""
    made = {f.name: getattr(module, f.name) for f in fields(module) if f.init}
    arrays = {prefix + name: x for name, x in made.items() if eqx.is_array(x) or isinstance(x, np.ndarray)}
    words: Words = {"kind": type(module).__name__, "count": len(made), "parts": {}}
    words["fields"] = {name: x for name, x in made.items() if _is_plain(x)}
    for name, part in made.items():
        if isinstance(part, eqx.Module):
            own, words["parts"][name] = _of_module(part, f"{prefix}{name}.")
            arrays |= own
    return arrays, words


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)


def _task_of(arrays: Arrays, words: Words, prefix: str = "task.") -> Any:
    """A task of `lg.tasks`, or a part of one, made by its constructor."""
    make: Any = getattr(tasks, words["kind"], None) if words["kind"] in dir(tasks) else None
    names = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]
    own = {name: arrays[prefix + name] for name in names if "." not in name}
    own |= {name: tuple(x) if isinstance(x, list) else x for name, x in words["fields"].items()}
    known = isinstance(make, type) and issubclass(make, eqx.Module)
    if not known or len(own) + len(words["parts"]) != words["count"]:
        raise ValueError(f"of its task no file holds {str(words['kind'])[:40]!r}; give the task as task=...")
    return make(**own | {name: _task_of(arrays, part, f"{prefix}{name}.") for name, part in words["parts"].items()})


def _same_task(task: Any, arrays: Arrays, words: Words) -> Any:
    if not isinstance(task, LoopTask):
        check_kind("task", task, SequenceTask, "give that of the run")
    own, told = _of_module(task, "task.")
    stored = {name: x for name, x in arrays.items() if name.startswith("task.")}
    same = json.loads(json.dumps(told)) == words and set(own) == set(stored)
    if not same or not all(np.array_equal(own[name], stored[name]) for name in own):
        raise ValueError(f"the task given is not that of the run, {str(words['kind'])[:40]} with other values; give it")
    return task


# --- checks ----------------------------------------------------------------------------------------------------------


def _check(run: NetworkRun, lead: tuple[int, ...]) -> None:
    """`ValueError` for the first thing that does not fit the networks."""
    if run.rule.num_seeds not in (None, *lead):
        raise ValueError(f"its rule has arrays for {run.rule.num_seeds} seeds, its networks leading axes {lead}")
    count = np.shape(run.record_steps)[:1]
    wanted = {
        "loss": (*lead, *np.shape(run.loss)[-1:]),
        "diverged_at": lead,
        "outcome": lead,
        "record_steps": count,
        "snapshot_steps": np.shape(run.snapshot_steps)[:1],
    }
    values = {name: (np.asarray(getattr(run, name)), shape) for name, shape in wanted.items()}
    for name, x in run.records.items():
        values[f"records {name}"[:60]] = x, (*lead, *count, *x.shape[len(lead) + 1 :])
    for name, (value, shape) in values.items():
        if value.shape != shape or value.dtype.kind not in "iuf" or np.any(np.isnan(value)):
            raise ValueError(f"its {name} has shape {value.shape} of {value.dtype}; it must be {shape}, without NaN")
    for code in np.unique(np.asarray(run.outcome)):
        Outcome(int(code))
    if "loss" not in run.records or not count[0]:
        raise ValueError("it has no held-out loss, so it is damaged; save it again")
