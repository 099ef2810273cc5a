r"""Runs as files: what `learn` and `train` return, whole, in a plain `.npz` that holds numbers and one text.

    run  ⇄  named arrays + a description in JSON   (rule, horizon, method, versions)

Models of every kind are stored alike (`model_arrays.py`). Files are not
trusted: nothing is unpickled, sizes are read from headers first (`weight_files.py`), and what does not fit together is
a `ValueError` with the file's name. Limits: a rule with a term that does not ship with localgrad is stored, but not
made again from its file; give it as `rule=`.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from localgrad.checks import check_kind, check_path
from localgrad.files import check_target, write_atomically
from localgrad.learning.checkpoints import read_arrays
from localgrad.learning.curve import LearningCurve
from localgrad.learning.methods import Flow, Steps
from localgrad.learning.model_arrays import final_model, kind_of, model_of, of_final, of_model, task_of
from localgrad.learning.networks.result import NetworkRun
from localgrad.learning.networks.stored import network_run, of_network_run
from localgrad.learning.result import TrainingRun
from localgrad.learning.run_checks import check_run, check_same_rule
from localgrad.learning.trainer import Trainer
from localgrad.models.layer_poles import find_layer_poles
from localgrad.outcomes import Outcome
from localgrad.rules import shipped
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.rule import Rule
from localgrad.rules.terms import ComplexFeedback, Term
from localgrad.updates.engines import named_arrays
from localgrad.updates.horizon import Horizon

FORMAT = 1

Arrays = dict[str, Any]

# What a description that is not ours makes of the code that reads it; a ValueError has words of its own.
_DAMAGED = (KeyError, TypeError, IndexError, AttributeError, OverflowError, NotImplementedError)


def save(run: LearningCurve | TrainingRun | NetworkRun, path: str | os.PathLike[str]) -> None:
    """Store what `learn` or `train` returned in an `.npz` file, whole or not at all.

    The file holds plain arrays and one text in JSON: the problem, the rule, the weights at both ends and on the way,
    losses and outcome. A file that is there is replaced.

    **Arguments:** `run`: a `LearningCurve`, `TrainingRun` or `NetworkRun`; `path`: a file whose name ends in `.npz`.

    **Raises:** `ValueError` for another object or ending; `OSError` that names a file that cannot be written.
    """
    if not isinstance(run, LearningCurve | TrainingRun | NetworkRun):
        raise ValueError(f"the run is a {type(run).__name__}; give what lg.learn or lg.train returned")
    check_path("the path of a run", path)
    check_target(path, "run", (".npz",))
    arrays, words = of_network_run(run) if isinstance(run, NetworkRun) else _of_linear(run)
    words |= {"format": FORMAT, "localgrad": version("localgrad"), "rule": _words_of_rule(run.rule)}
    arrays |= _of_rule(run.rule)
    with write_atomically(Path(path)) as stream:
        plain = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez(stream, allow_pickle=False, description=np.array(json.dumps(words)), **plain)


def load_run(path: str | os.PathLike[str], *, rule: Rule | None = None, network: Any = None, task: Any = None) -> Any:
    """The run in a file of `save` or of `localgrad train --out`.

    **Arguments:** `path`: the file. Needed only for what has code of one's own, which is in no file: `rule`, with a
    term of one's own; `network`, one like that of the run, with a cell or an activation of one's own; `task`, where
    that is not one of `lg.tasks`.

    **Returns:** a `LearningCurve`, `TrainingRun` or `NetworkRun`, as it was saved.

    **Raises:** `ValueError` naming the file and what is wrong with it.

    >>> import tempfile, localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.1]], [[0.0]], [[0.1]]), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lg.save(lg.learn(lg.BPTT(), student, teacher, duration=100.0), f"{folder}/run.npz")
    ...     str(lg.load_run(f"{folder}/run.npz").outcome)
    'converged'
    """
    check_path("the path of a run", path)
    try:
        arrays = read_arrays(Path(path))
        words = _description(arrays)
        found = _rule(arrays, words["rule"]) if rule is None else _given(rule, arrays, words["rule"])
        if words["kind"] == "network":
            return network_run(arrays, words, found, network, task)
        if network is not None or task is not None:
            raise ValueError("it is no run of networks of cells; leave network and task out")
        kind = kind_of(words)
        initial = model_of(arrays, "initial.", kind)
        problem = {"task": task_of(arrays), "initial": initial, "final": final_model(arrays, kind, initial)}
        problem["snapshots"] = model_of(arrays, "snapshots.", kind)
        run = (_curve if words["kind"] == "curve" else _training)(arrays, words, found, problem)
        check_run(run)
        return run
    except _DAMAGED as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else "what it holds does not fit together"
        raise ValueError(f"run {str(path)!r}: {what}, so it is damaged; save it again") from None
    except ValueError as error:
        raise ValueError(f"run {str(path)!r}: {error}") from None


def _description(arrays: Arrays) -> dict[str, Any]:
    text = arrays.get("description")
    if text is None or text.dtype.kind != "U" or text.shape != ():
        raise ValueError("it holds no run of localgrad; write it with lg.save or localgrad train --out")
    try:
        words = json.loads(str(text))
    except (ValueError, RecursionError):
        raise ValueError("its description is damaged; save the run again") from None
    if (
        not isinstance(words, dict)
        or not _is_this(words.get("format"), FORMAT)
        or words.get("kind") not in ("curve", "training", "network")
    ):
        raise ValueError(f"it has another format than {FORMAT}, which this localgrad reads; save the run again")
    return words


def _is_this(value: Any, number: int) -> bool:
    return type(value) is int and value == number  # `true` is no number, though it equals 1


# --- the two kinds of runs -------------------------------------------------------------------------------------------


def _of_linear(run: LearningCurve | TrainingRun) -> tuple[Arrays, dict[str, Any]]:
    arrays, words = _of_curve(run) if isinstance(run, LearningCurve) else _of_training(run)
    arrays |= of_final(run.final) | of_model("initial.", run.initial) | named_arrays(run.task)
    return arrays, words | {"model": type(run.initial).__name__}


def _of_curve(run: LearningCurve) -> tuple[Arrays, dict[str, Any]]:
    arrays: Arrays = {name: getattr(run, name) for name in ("time", "loss", "outcome", "snapshot_times", "steps")}
    arrays |= of_model("snapshots.", run.snapshots)
    arrays |= {f"state.{i}": x for i, x in enumerate(run.states)}
    arrays |= {f"final_state.{i}": x for i, x in enumerate(run.final_rule.state)}
    method = run.method
    how = vars(method) | {"kind": "steps" if isinstance(method, Steps) else "flow"}
    words = {"kind": "curve", "horizon": run.over.steps, "loss": run.over.loss, "method": how, "poles": run.poles}
    return arrays, words | {name: getattr(run, name) for name in ("duration", "tolerance", "silent_loss")}


def _curve(arrays: Arrays, words: dict[str, Any], rule: Rule, problem: dict[str, Any]) -> LearningCurve:
    how = dict(words["method"])
    method = (Steps if how.pop("kind") == "steps" else Flow)(**how)
    outcome = arrays["outcome"]
    fields: dict[str, Any] = problem | {name: arrays[name] for name in ("time", "loss", "snapshot_times", "steps")}
    fields |= {name: float(words[name]) for name in ("duration", "tolerance", "silent_loss")}
    return LearningCurve(
        rule=rule,
        over=Horizon.of(words["horizon"], words["loss"]),
        method=method,
        outcome=Outcome(int(outcome)) if outcome.ndim == 0 else outcome,
        final_rule=rule.at(tuple(arrays[f"final_state.{i}"] for i in range(len(rule.state)))),
        poles=find_layer_poles(words.get("poles", "direct")).key,
        states=tuple(arrays[f"state.{i}"] for i in range(len(rule.state))),
        **fields,
    )


_OF_TRAINING = ("loss", "final_loss", "outcome", "diverged_at", "snapshot_steps")


def _of_training(run: TrainingRun) -> tuple[Arrays, dict[str, Any]]:
    arrays: Arrays = {name: getattr(run, name) for name in _OF_TRAINING} | of_model("snapshots.", run.snapshots)
    arrays |= {f"final_state.{i}": x for i, x in enumerate(run.final_rule.state)}
    trainer = run.trainer
    words = {name: getattr(trainer, name) for name in ("batch_size", "horizon", "loss", "method", "poles")}
    return arrays, {"kind": "training", "learning_rate": float(trainer.learning_rate), "trainer": words}


def _training(arrays: Arrays, words: dict[str, Any], rule: Rule, problem: dict[str, Any]) -> TrainingRun:
    trainer = Trainer(rule, problem.pop("task"), learning_rate=words["learning_rate"], **words["trainer"])
    found: dict[str, Any] = problem | {name: arrays[name] for name in _OF_TRAINING}
    if found["outcome"].ndim == 0:
        found["outcome"] = Outcome(int(found["outcome"]))
    state = tuple(arrays[f"final_state.{i}"] for i in range(len(rule.state)))
    return TrainingRun(trainer=trainer, final_rule=rule.at(state), **found)


# --- rules ------------------------------------------------------------------------------------------------------------


_PARTS = {"feedback": ("symmetric", "fixed"), "propagator": ("full", "diagonal", "decay", "internal")}
_SHIPPED = {
    name: kind
    for name, kind in vars(shipped).items()
    if isinstance(kind, type) and issubclass(kind, Term) and kind.__module__ == shipped.__name__ and name[0] != "_"
} | {ComplexFeedback.__name__: ComplexFeedback}


def _words_of_rule(rule: Rule) -> dict[str, Any]:
    terms = {part: [type(term).__name__ for term in getattr(rule, part).terms] for part in _PARTS}
    return {"name": rule.name, "key": rule.key, "lags": rule.lags, "through_plant": rule.through_plant,
            "delay": rule.delay, "terms": terms, "description": rule.describe()}  # fmt: skip


def _of_rule(rule: Rule) -> Arrays:
    """The numbers of a rule by name: `rule.feedback.fixed`, and for terms `rule.feedback.0.scale`."""
    found: Arrays = {}
    for part, names in _PARTS.items():
        own = getattr(rule, part)
        found |= {f"rule.{part}.{name}": getattr(own, name) for name in names}
        for i, term in enumerate(own.terms):
            found |= {f"rule.{part}.{i}.{name}": value for name, value in vars(term).items()}
    return {name: value for name, value in found.items() if value is not None and _is_number(value)}


def _is_number(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "fiubc"


def _rule(arrays: Arrays, words: dict[str, Any]) -> Rule:
    def part(name: str) -> dict[str, Any]:
        numbers = {key: _number(arrays.get(f"rule.{name}.{key}")) for key in _PARTS[name]}
        terms = tuple(_term(kind, arrays, f"rule.{name}.{i}.") for i, kind in enumerate(words["terms"][name]))
        return numbers | {"terms": terms}

    feedback, propagator = Feedback(**part("feedback")), Propagator(**part("propagator"))
    if not all(isinstance(words[name], str) for name in ("name", "key")):
        raise ValueError("the name and key of its rule are no words; save the run again")
    own = {
        "through_plant": words.get("through_plant", False),
        "delay": words.get("delay", 0),
        "name": words["name"],
        "key": words["key"],
    }
    return Rule(feedback, propagator, words["lags"], **own)


def _given(rule: Rule, arrays: Arrays, words: dict[str, Any]) -> Rule:
    check_kind("rule", rule, Rule)
    stored = {name: value for name, value in arrays.items() if name.startswith("rule.")}
    check_same_rule(
        rule, words["terms"], (words["lags"], words.get("delay", 0)), _of_rule(rule), stored, str(words["description"])
    )
    return rule


def _term(kind: str, arrays: Arrays, prefix: str) -> Term:
    if kind not in _SHIPPED:
        raise ValueError(f"its rule has the term {kind[:40]!r}, whose code is in no file; give the rule as rule=...")
    return _SHIPPED[kind](*(_number(arrays[f"{prefix}{name}"]) for name in _SHIPPED[kind].__dataclass_fields__))


def _number(value: np.ndarray | None) -> Any:
    """As the rule held it: a Python number where it was one, whole or not, else an array."""
    return value if value is None or value.ndim else value.item()
