r"""Centre-out reaching: bring the hand from its place of rest to one of several targets on a circle around it.

    cost_t = ½ ‖h_t − target‖² + ½ slowness ‖0.1 s · ḣ_t‖² + ½ effort ‖y_t‖²,   h = (hand − centre) / radius

A hand that does not move costs ½ a step, whatever the body, which is what losses are to be compared with.

The network hears what the cost is about: the target, `h` and `0.1 s · ḣ`, the velocity in radii a tenth of a second.

Source: Georgopoulos, Kalaska & Massey 1981 for the task; Todorov & Li 2005 for the cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.checks import check_choice, in_words
from localgrad.tasks.reaching.bodies import Body, Moving, PointMass
from localgrad.tasks.reaching.loop import CREDITS, LoopTask
from localgrad.tasks.task_arguments import whole, within


class _Trial(NamedTuple):
    body: Moving
    target: Array  # from the place of rest, in units of the radius


class Reaching(LoopTask):
    r"""Centre-out reaching in closed loop: a network moves a body's hand to one of several targets around it.

    `cost = ½ ‖h − target‖² + ½ slowness ‖0.1 s · ḣ‖² + ½ effort ‖y‖²` a step, with `h` the hand's place from the centre
    in radii; a hand at rest costs ½.

    **Arguments:**

    - `body`: an `lg.tasks.PointMass` or `lg.tasks.TwoJointArm`, or a `Body` of one's own.
    - `targets`: how many, evenly on a circle of `radius` metres; a trial draws one.
    - `length`: steps of a trial, of `body.step` seconds.
    - `gain`: newtons, or for an arm newton metres, a unit of the output.
    - `slowness`, `effort`: dimensionless, at least 0.
    - `credit`: which paths from a command to later costs errors know of: `"step"`, only the step itself; `"plant"`,
        also the body's dynamics; `"loop"`, also the network's own answer to what it senses: BPTT is then the gradient.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Georgopoulos et al. 1981; Todorov & Li 2005.

    >>> from localgrad.tasks.reaching.bodies import TwoJointArm
    >>> task = Reaching(TwoJointArm(), length=30)
    >>> task.num_inputs, task.num_outputs
    (6, 2)
    """

    body: Body = PointMass()
    targets: int = eqx.field(default=8, static=True)
    radius: float = eqx.field(default=0.1, static=True)
    length: int = eqx.field(default=50, static=True)
    gain: float = eqx.field(default=1.0, static=True)
    slowness: float = eqx.field(default=1.0, static=True)
    effort: float = eqx.field(default=0.001, static=True)
    credit: str = eqx.field(default="plant", static=True)
    num_inputs: int = eqx.field(default=6, init=False, static=True)
    num_outputs: int = eqx.field(default=2, init=False, static=True)

    def __post_init__(self) -> None:
        if not isinstance(self.body, Body):
            raise ValueError(f"the body is {in_words(self.body)}; give lg.tasks.PointMass() or lg.tasks.TwoJointArm()")
        for name in ("targets", "length"):
            setattr(self, name, whole(name, getattr(self, name)))
        for name in ("radius", "gain"):
            setattr(self, name, within(name, getattr(self, name), 0, np.inf, "nothing would move"))
        for name in ("slowness", "effort"):
            setattr(self, name, within(name, getattr(self, name), 0, np.inf, "a negative price rewards", or_first=True))
        check_choice("credit", self.credit, CREDITS)

    def start(self, key: PRNGKeyArray) -> _Trial:
        """The body at rest, and a target."""
        angle = 2 * np.pi * jax.random.randint(key, (), 0, self.targets) / self.targets
        return _Trial(self.body.rest(), jnp.stack([jnp.cos(angle), jnp.sin(angle)]))

    def sense(self, state: _Trial) -> Array:
        """The target, where the hand is, and how fast it moves."""
        away, velocity = self._hand(state)
        return jnp.concatenate([state.target, away, 0.1 * velocity])

    def move(self, state: _Trial, command: Any) -> _Trial:
        """A step of the body."""
        return _Trial(self.body.moved(state.body, self.gain * command), state.target)

    def cost(self, state: _Trial, command: Any) -> Array:
        """See the class."""
        away, velocity = self._hand(state)
        missed, moving = away - state.target, 0.1 * velocity
        return (missed @ missed + self.slowness * moving @ moving + self.effort * command @ command) / 2

    def _hand(self, state: _Trial) -> tuple[Array, Array]:
        """Where the hand is from the centre, in radii, and its velocity, in radii a second."""
        (hand, velocity), (centre, _) = self.body.hand(state.body), self.body.hand(self.body.rest())
        return (hand - centre.astype(hand.dtype)) / self.radius, velocity / self.radius
