"""What an ensemble of trajectories came to."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from localgrad.models.aligned import Mode
from localgrad.modes.arguments import as_float
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule

_PLAIN = ("outcome", "branch", "time", "path_length", "peak_loss", "steps")  # fields that are one array
_MODES = ("final", "saved")


@dataclass(frozen=True)
class Ensemble:
    """How the trajectories of an ensemble ended; every array has the broadcast shape.

    - `final`: the last state, a `Mode`.
    - `outcome`: codes of `Outcome`, whose text says how they are decided; `Outcome.words` gives words. `DIVERGED`:
        certain to reach the edge of the domain.
    - `branch`: the sign of `a` where `CONVERGED`, else 0.
    - `time`: the learning time at which the loss became negligible for good where `CONVERGED`, else at the end.
    - `path_length`: the length of the way through `(a, b, w)`.
    - `peak_loss`: the largest loss on the way over the initial loss, at least 1; infinite where `DIVERGED`. The initial
        loss counts as no smaller than a negligible one (`outcomes.CONVERGED_LOSS`).
    - `steps`: attempted steps of the integrator.
    - `saved`, `save_at`: with `save_at`, those times, and the states at them, a `Mode` of arrays with one more axis, at
        the end. After the end of a trajectory its last state is repeated.
    - `rule`, `initial`, `teacher`, `settings`: its problem, as it was given to `integrate_modes`.
    """

    final: Mode
    outcome: np.ndarray
    branch: np.ndarray
    time: np.ndarray
    path_length: np.ndarray
    peak_loss: np.ndarray
    steps: np.ndarray
    saved: Mode | None = None
    save_at: np.ndarray | None = None
    rule: Rule | Sequence[Rule] = field(kw_only=True)
    initial: Mode = field(kw_only=True)
    teacher: Mode = field(kw_only=True)
    settings: dict[str, Any] = field(kw_only=True)

    @property
    def rules(self) -> list[Rule]:
        """The rule, or all of a sequence."""
        return [self.rule] if isinstance(self.rule, Rule) else list(self.rule)

    def __repr__(self) -> str:
        rules = self.rules
        counts = ", ".join(f"{count:,} {word}" for word, count in Outcome.counts(self.outcome).items())
        above, below = (int(np.sum(self.branch == sign)) for sign in (1, -1))
        times = "" if self.save_at is None else f"; states at {len(self.save_at)} times"
        return (
            f"Ensemble of {self.outcome.size:,} trajectories, shape {self.outcome.shape}, to learning time "
            f"{self.settings['duration']:.4g}\n"
            f"  {rules[0].describe()}{f' and {len(rules) - 1} more' if len(rules) > 1 else ''}\n"
            f"  {counts}; branches s > 0: {above:,}, s < 0: {below:,}{times}"
        )

    def at(self, times: Any) -> "Ensemble":
        """The same ensemble with its states at these times in `saved`: the trajectories are followed again.

        **Arguments:** `times`: learning times from 0 to the duration, ascending, shape `"times"`.

        **Raises:** `ValueError` for times outside this range or out of order.
        """
        from localgrad.modes.ensemble.integrate import integrate_modes

        times = as_float(times, "times")
        return integrate_modes(self.rule, self.initial, self.teacher, save_at=times, **self.settings)

    def plot(self) -> Any:
        """A Matplotlib figure: how often each outcome occurred, learning times and path lengths."""
        from localgrad.figures.curves import plot_ensemble

        return plot_ensemble(self)


def stack(runs: list[Ensemble]) -> Ensemble:
    """The results of several rules as one, with the rules on a new first axis."""
    if not runs:
        raise ValueError("the sequence of rules is empty; give at least one rule")
    shapes = [run.outcome.shape for run in runs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ValueError(f"the rules' ensembles, of shapes {shapes}, do not broadcast against each other") from error

    def joined(*arrays: np.ndarray) -> np.ndarray:
        # `saved` has one more axis, at the end.
        return np.stack([np.broadcast_to(x, shape + x.shape[len(s) :]) for x, s in zip(arrays, shapes, strict=True)])

    arrays: dict[str, Any] = {name: joined(*(getattr(run, name) for run in runs)) for name in _PLAIN}
    for name in _MODES:
        modes = [getattr(run, name) for run in runs]
        arrays[name] = None if modes[0] is None else Mode(*map(joined, *modes))
    return replace(runs[0], rule=[rule for run in runs for rule in run.rules], **arrays)
