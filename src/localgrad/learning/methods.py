"""How learning moves on in time: along the flow, or by steps of a learning rate. One value, given to `learn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from localgrad.checks import check_choice, check_count, check_positive, in_words

Solver = Literal["stabilized", "explicit", "implicit"]
_SOLVERS = ("stabilized", "explicit", "implicit")


@dataclass(frozen=True)
class Flow:
    r"""The learning flow `dθ/dk = −Δθ`, integrated with error control.

    **Arguments:**

    - `solver`: `"stabilized"` (Runge–Kutta–Chebyshev, order 2, for all sizes), `"explicit"` (Tsitouras, order 5, for
        tight tolerances where nothing is stiff), `"implicit"` (Kværnø, order 5: small networks, since it needs the
        Jacobian).
    - `rtol`, `atol`: tolerances of a step, relative and absolute in weights; positive. With the defaults a whole curve
        is within about 1e-3 of the exact one, relative to the loss of a silent student (4e-4 to 8e-4 where measured).
    - `max_steps`: steps of the integrator after which a run is unfinished.

    **Raises:** `ValueError` for an unknown solver, and for numbers outside their domains.

    Source: Sommeijer, Shampine & Verwer 1998, Tsitouras 2011, Kværnø 2004.
    """

    solver: Solver = "stabilized"
    rtol: float = 1e-4
    atol: float = 1e-6
    max_steps: int = 4096

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, _SOLVERS)
        check_positive("rtol", self.rtol)
        check_positive("atol", self.atol)
        check_count("max_steps", self.max_steps, 10**6)

    def __str__(self) -> str:
        return f"the flow ({self.solver})"


@dataclass(frozen=True)
class Steps:
    """Discrete steps `θ ← θ − η Δθ`, as a program takes them; the last is what is left of the learning time.

    **Arguments:** `learning_rate`: `η`, dimensionless, positive. **Raises:** `ValueError` for one that is not.

    >>> print(Steps(0.01))
    steps of 0.01
    """

    learning_rate: float

    def __post_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)

    def __str__(self) -> str:
        return f"steps of {self.learning_rate:g}"


def as_method(value: Any) -> Flow | Steps:
    """The method that an argument names; `ValueError` with the remedy where it names none."""
    if isinstance(value, Flow | Steps):
        return value
    raise ValueError(f"method must be a Flow or Steps, such as lg.Flow() or lg.Steps(0.01); got {in_words(value)}")
