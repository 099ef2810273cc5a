"""Linear tasks that can be asked for by name, for the command line and for first tries.

Each is one call of a builder with numbers of its own; a task with other numbers is a file (`task_files.py`) or a call.
"""

from __future__ import annotations

from collections.abc import Callable

from localgrad.tasks.builders import delay_line, integrator, oscillator
from localgrad.tasks.linear_task import LinearTask
from localgrad.tasks.plants import closed_loop, point_mass


def _hold_a_mass() -> LinearTask:
    plant = point_mass(0.2, damping=1.0, stiffness=1.0)
    return closed_loop(plant, regulate=[[1.0, 1.0]], plant_noise=[0.0, 1.0], sensor_noise=0.1)


EXAMPLES: dict[str, Callable[[], LinearTask]] = {
    "integrator": lambda: integrator(0.1),
    "oscillator": lambda: oscillator(12, 0.9),
    "two-delays": lambda: delay_line({1: 0.5, 4: 1.0}),
    "point-mass": _hold_a_mass,
}
"""Tasks by name: a leaky integrator, a damped oscillator, a sum of two past inputs, a mass on a spring to be held."""
