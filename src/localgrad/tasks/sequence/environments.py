r"""Sequences from an environment that tells what would have been right, such as those of neurogym.

What is asked of an environment, whatever library it comes from:

- either trials: `new_trial()` makes one, and then `ob`, shape `"time input"`, and `gt`, `"time"` or `"time output"`,
    hold what is seen and what is right (neurogym);
- or steps: `reset(seed=…)` and `step(action)` as in Gymnasium, where `info["gt"]` of a step is what was right in view
    of the observation before it. Actions are drawn from `action_space`.

Nothing is imported; trials of different lengths are filled up under a mask of 0.

Limits: the trials are drawn once, by a program that JAX does not compile; batches draw from them.

Source: Molano-Mazón et al. 2022 (NeuroGym); Towers et al. 2024 (Gymnasium).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from localgrad.checks import check_count, check_seed, in_words
from localgrad.tasks.sequence.arrays import ArrayTask, from_arrays


class _Trial(NamedTuple):
    seen: np.ndarray
    right: np.ndarray


def from_environment(environment: Any, *, num_trials: int, seed: int = 0, max_steps: int = 1000) -> ArrayTask:
    r"""A task from trials of an environment that tells what would have been right.

    What is right is a class where it is a whole number, else a target of `"mse"`.

    **Arguments:**

    - `environment`: one of neurogym (`new_trial`, `ob`, `gt`), or one with `reset`, `step` and `action_space` as in
        Gymnasium, whose `info` holds `"gt"`, what was right in view of the observation before the step.
    - `num_trials`: how many trials to draw; batches draw from them with replacement.
    - `seed`: for the environment's `reset` and, where it has one, `seed`, and for its actions.
    - `max_steps`: a trial of an environment with steps is cut there.

    **Returns:** an `ArrayTask`.

    **Raises:** `ValueError` for what is no such environment, and for trials that `from_arrays` refuses.

    Source: docs/theory.md, section 12; Molano-Mazón et al. 2022 for such environments.

    >>> import numpy as np
    >>> class Echo:
    ...     def new_trial(self):
    ...         self.ob, self.gt = np.ones((4, 2)), np.array([0, 0, 1, 1])
    >>> from_environment(Echo(), num_trials=3).num_outputs
    2
    """
    check_count("num_trials", num_trials)
    check_count("max_steps", max_steps)
    check_seed("seed", seed)
    inner = getattr(environment, "unwrapped", environment)
    if callable(getattr(inner, "new_trial", None)):
        trials = _whole_trials(inner, num_trials, seed)
    elif all(callable(getattr(environment, name, None)) for name in ("reset", "step")):
        trials = _stepped_trials(environment, num_trials, seed, max_steps)
    else:
        raise ValueError(
            f"the environment is {in_words(environment)}, which has neither new_trial nor reset and step; give one of "
            "neurogym or in the form of Gymnasium"
        )
    seen = [x.seen.reshape(len(x.seen), -1) for x in trials]
    if all(x.right.dtype.kind in "iu" and x.right.ndim == 1 for x in trials):
        known = getattr(getattr(inner, "action_space", None), "n", None)
        largest = max(int(x.right.max()) for x in trials)
        return from_arrays(seen, [x.right for x in trials], loss="cross_entropy", num_classes=int(known or largest + 1))
    return from_arrays(seen, [x.right.reshape(len(x.right), -1) for x in trials])


def _whole_trials(environment: Any, num_trials: int, seed: int) -> list[_Trial]:
    if callable(getattr(environment, "reset", None)):
        environment.reset(seed=seed)
    _seed(environment, seed)
    trials = []
    for i in range(num_trials):
        environment.new_trial()
        seen, right = (getattr(environment, name, None) for name in ("ob", "gt"))
        if np.ndim(seen) < 2 or np.ndim(right) < 1 or not len(seen):  # type: ignore[arg-type]
            raise ValueError(
                f"trial {i} of the environment has ob of shape {np.shape(seen)} and gt of shape {np.shape(right)}; "  # type: ignore[arg-type]
                "give (time, input) and (time,) or (time, output)"
            )
        trials.append(_Trial(np.array(seen), np.array(right)))
    return trials


def _stepped_trials(environment: Any, num_trials: int, seed: int, max_steps: int) -> list[_Trial]:
    actions: Any = getattr(environment, "action_space", None)
    if not callable(getattr(actions, "sample", None)):
        raise ValueError("the environment has no action_space to draw actions from; give it one with sample()")
    if callable(getattr(actions, "seed", None)):
        actions.seed(seed)
    _seed(getattr(environment, "unwrapped", environment), seed)
    trials = []
    for i in range(num_trials):
        seen, right = [], []
        observation = _observed(environment.reset(seed=seed + i))
        for _ in range(max_steps):
            seen.append(np.ravel(observation))
            observation, _, *ended, info = environment.step(actions.sample())
            if not isinstance(info, dict) or "gt" not in info:
                raise ValueError("a step of the environment tells no info['gt'], what would have been right; add it")
            right.append(info["gt"])
            if any(ended) or info.get("new_trial", False):
                break
        trials.append(_Trial(np.array(seen), np.array(right)))
    return trials


def _seed(environment: Any, seed: int) -> None:
    """What neurogym asks for, whose `reset` leaves its random numbers as they are."""
    if callable(getattr(environment, "seed", None)):
        environment.seed(seed)


def _observed(reset: Any) -> Any:
    """The observation of `reset`, which comes with an `info` in Gymnasium, and alone in its forerunner."""
    return reset[0] if isinstance(reset, tuple) and len(reset) == 2 and isinstance(reset[1], dict) else reset
