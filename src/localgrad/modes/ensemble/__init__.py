r"""A million learning trajectories a second: the mode equations integrated from many starts, for many rules.

Initial modes, teacher modes and the numbers of a rule broadcast against each other; `integrate_modes` follows
`dθ/dk = −Δθ` for each and says where it ended, when, by which way, and how high the loss rose on it. The integrator is
a Rosenbrock method (`rosenbrock.py`) on many trajectories at once (`lanes.py`), its formulas generated from the one
definition of the mode equations (`generate.py`).

Limits: CPU and float64; `|w| < 1`; outcomes are decided by local criteria (see `Outcome`).
"""

from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble

__all__ = ["Ensemble", "integrate_modes"]
