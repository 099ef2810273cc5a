"""What a sweep may say of runs of whole networks, what it draws for them, and what it records, whatever moves them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgrad.sweeps.kinds.kind import Parameter, Variable
from localgrad.sweeps.kinds.modes import OUTCOMES, Positive
from localgrad.sweeps.kinds.rules import RULE_PARAMETERS
from localgrad.sweeps.kinds.students import CELLS
from localgrad.sweeps.kinds.tasks import TASK_PARAMETER, Size

NETWORK_PARAMETERS = RULE_PARAMETERS | {
    "task": TASK_PARAMETER,
    "cell": Parameter(Literal[tuple(CELLS)], "what the student is made of", "name", "linear"),
    "leak": Parameter(Annotated[float, Field(gt=0, le=1)], "leak of leaky cells, a step", default=None),
    "hidden": Parameter(Size, "hidden units of a student", "units"),
    "scale": Parameter(Positive, "scale of a student's first weights", default=0.3),
    "feedback_scale": Parameter(Positive, "scale of the fixed feedback", default=None),
}
"""What a sweep may say of a run of a network, whatever moves it."""

NETWORK_SOURCES = ("student", "feedback", "task")
"""What is drawn for a run of a network."""

NETWORK_VARIABLES = {
    "outcome": Variable("int8", f"how learning ended: {OUTCOMES}", "code"),
    "loss": Variable("float64", "exact expected loss at the end", "silent student's loss"),
    "rank": Variable("float64", "participation ratio (Σσ²)²/Σσ⁴ of the change of W"),
    "radius": Variable("float64", "spectral radius of W at the end"),
}
"""What is recorded of a run of a network, whatever moves it."""
