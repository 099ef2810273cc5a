"""The experiments of the reproduction, one file a topic, known by the names the command line uses.

`NAMES` lists them in the order of the report; `load` imports one when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localgrad.experiments.base import Experiment

NAMES = (
    "equivalence",
    "limits",
    "fixed-points",
    "stability",
    "rates",
    "detours",
    "basins",
    "detours-at-scale",
    "rule-cube",
    "summary",
    "connectome",
    "emergent-alignment",
    "rank",
    "eprop-rank",
    "feedback-dimension",
    "double-limit",
    "real-teachers",
)
"""The experiments in report order. `fixed-points` lives in the module `fixed_points`, and so on."""


def select(names: list[str] | None = None) -> list[str]:
    """The experiments asked for, each once and in report order; all of them if none is named.

    **Raises:** `ValueError` for unknown names, listing the known ones.

    >>> select(["rates", "limits", "rates"])
    ['limits', 'rates']
    """
    wanted = {name.replace("_", "-") for name in names or NAMES}
    if unknown := sorted(wanted - set(NAMES)):
        plural = "s" * (len(unknown) > 1)
        raise ValueError(f"unknown experiment{plural} {', '.join(unknown)}; known experiments: {', '.join(NAMES)}")
    return [name for name in NAMES if name in wanted]


def load(name: str) -> Experiment:
    """The experiment called `name`, from its module's `EXPERIMENT`.

    **Raises:** `ValueError` for an unknown name, listing the known ones.
    """
    [known] = select([name])
    return import_module(f"{__name__}.{known.replace('-', '_')}").EXPERIMENT
