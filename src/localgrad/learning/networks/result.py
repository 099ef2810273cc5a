"""What `train` returns of networks of cells: how a network, or a batch of them, was trained on a sequence task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.cells.block import cell_of
from localgrad.cells.stack import Network
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class NetworkRun:
    """A run of networks of cells. Shapes are of one network; many have one leading axis `"seeds"` more throughout.

    - `rule`, `task`, `batch_size`: the problem.
    - `silent_loss`: the loss, on the held-out batch, of a network whose output is 0: the unit in which losses are told.
    - `initial`, `final`: the networks at both ends; one that diverged is the last with finite weights.
    - `final_rule`: the rule at the end, whose feedback may have learned.
    - `loss`: of each step's batch, before the step, shape `"steps"`; from divergence on its limit, 1e6 times
        `silent_loss`.
    - `record_steps`: after which steps there are records: 0, multiples of `record_every`, and the last.
    - `records`: by name, shape `"records"`: `loss` on the held-out batch, for classes `accuracy`, and what `record`
        asked for.
    - `outcome`: an `Outcome`; of many an array of their numbers. `DIVERGED`: a loss that is not finite or above the
        limit. `CONVERGED`: the final loss on the held-out batch is at most `target_loss` times `silent_loss`, where a
        target was given. `UNFINISHED`: neither.
    - `diverged_at`: the first step that was not taken, or −1.
    - `snapshot_steps`, `snapshots`: with `save_every`, the networks after these steps (0 first), with a leading axis
        `"snapshots"`; without, `None`.
    """

    rule: Rule
    task: Any
    batch_size: int
    silent_loss: float
    initial: Network
    final: Network
    final_rule: Rule
    loss: np.ndarray
    record_steps: np.ndarray
    records: dict[str, np.ndarray]
    outcome: Any
    diverged_at: np.ndarray
    snapshot_steps: np.ndarray
    snapshots: Any

    def __repr__(self) -> str:
        many = self.loss.ndim == 2
        cells = " under ".join(type(cell_of(layer)).__name__ for layer in reversed(self.initial.layers))
        seeds = f"{len(self.loss)} networks of " if many else "a network of "
        counts = Outcome.counts(self.outcome)
        outcomes = ", ".join(f"{n} {word}" for word, n in counts.items()) if many else str(self.outcome)
        lines = [
            f"NetworkRun under {self.rule.describe()}",
            f"  {seeds}{cells}, {self._sizes}; {type(self.task).__name__} in batches of {self.batch_size}",
            f"  {outcomes} after {self.loss.shape[-1]} steps",
            f"  held-out loss {_spread(self.final_loss / self.silent_loss)} of a silent network's",
        ]
        if "accuracy" in self.records:
            lines[-1] += f", accuracy {_spread(self.records['accuracy'][..., -1])}"
        return "\n".join(lines)

    @property
    def _sizes(self) -> str:
        output = self.initial.readout.A.shape[-2]
        units = " and ".join(str(layer.sizes[0]) for layer in self.initial.layers)
        return f"{output} outputs, {units} hidden units, {self.initial.sizes[2]} inputs"

    @property
    def final_loss(self) -> np.ndarray:
        """The loss of `final` on the held-out batch, shape `""`."""
        return self.records["loss"][..., -1]

    @property
    def steps(self) -> int:
        """How many steps were asked for."""
        return self.loss.shape[-1]

    def plot(self) -> Any:
        """A Matplotlib figure: the batches' loss over steps, a curve a seed, in units of a silent network's."""
        from localgrad.figures.curves import plot_losses

        steps = np.arange(1, self.loss.shape[-1] + 1)
        return plot_losses(steps, self.loss / self.silent_loss, self.outcome, self.rule, "step")


def _spread(values: np.ndarray) -> str:
    if np.ndim(values) == 0:
        return f"{float(values):.3g}"
    return f"{np.median(values):.3g} (median; {np.min(values):.3g} to {np.max(values):.3g})"
