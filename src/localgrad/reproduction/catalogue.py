"""The experiments of the reproduction, one file a topic, known by the names the command line uses.

`NAMES` lists them in the order of the report; `load` imports one when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localgrad.reproduction.experiment import Experiment

_MODULES = {
    "equivalence": "theory.equivalence",
    "limits": "theory.limits",
    "fixed-points": "theory.fixed_points.experiment",
    "slow-phase": "theory.slow_phase",
    "stability": "theory.stability.experiment",
    "rates": "theory.rates.experiment",
    "detours": "theory.detours",
    "basins": "theory.basins",
    "detours-at-scale": "theory.detours_at_scale.experiment",
    "kernels": "theory.kernels",
    "rule-cube": "theory.rule_cube",
    "delay": "theory.delay.experiment",
    "imperfections": "theory.imperfections.experiment",
    "bounded-poles": "theory.bounded_poles.experiment",
    "connectome": "theory.connectome",
    "emergent-alignment": "networks.emergent_alignment.experiment",
    "rank": "networks.rank.experiment",
    "eprop-rank": "networks.eprop_rank.experiment",
    "feedback-dimension": "networks.feedback_dimension.experiment",
    "double-limit": "networks.double_limit.experiment",
    "real-teachers": "networks.real_teachers.experiment",
    "state-space": "networks.state_space",
    "literature": "networks.literature.experiment",
}

NAMES = tuple(_MODULES)
"""The experiments in report order."""


def select(names: list[str] | None = None) -> list[str]:
    """The experiments asked for, each once and in report order; all of them if none is named. `_` is as good as `-`.

    **Raises:** `ValueError` for unknown names, listing the known ones.

    >>> select(["rates", "limits", "rates"])
    ['limits', 'rates']
    """
    known = {name.replace("_", "-"): name for name in NAMES}
    asked = {name: known.get(name.replace("_", "-")) for name in names or NAMES}
    if unknown := sorted(name for name, found in asked.items() if found is None):
        plural = "s" * (len(unknown) > 1)
        raise ValueError(f"unknown experiment{plural} {', '.join(unknown)}; known experiments: {', '.join(NAMES)}")
    return [name for name in NAMES if name in asked.values()]


def load(name: str) -> Experiment:
    """The experiment called `name`, from its module's `EXPERIMENT`.

    **Raises:** `ValueError` for an unknown name, listing the known ones.
    """
    [known] = select([name])
    return import_module(f"localgrad.reproduction.{_MODULES[known]}").EXPERIMENT
