r"""What is moved: a point mass, and an arm of two joints, both in a plane.

    point mass     mass v̇ = u − damping v,   ẋ = v
    arm            M(θ) θ̈ + C(θ, θ̇) + D θ̇ = u,   hand = l₁ (cos θ₁, sin θ₁) + l₂ (cos(θ₁ + θ₂), sin(θ₁ + θ₂))

with `M` the inertia and `C` the Coriolis and centrifugal forces of two rods. Steps are those of the semi-implicit Euler
method: first the velocity, then the place by the new velocity. A state is `(place, velocity)`, each of two numbers: of
the mass, or of the joints.

Source: Todorov & Li 2005 (arm and its constants).
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.tasks.task_arguments import within


class Moving(NamedTuple):
    """Where a body is, and how fast it moves; of an arm its joints."""

    place: Array  # m, or rad
    velocity: Array  # m/s, or rad/s


class Body(eqx.Module):
    """A body in a plane, moved by two numbers: subclass it with `rest`, `acceleration` and `hand`."""

    @property
    @abc.abstractmethod
    def step(self) -> float:
        """Seconds a step."""

    @abc.abstractmethod
    def rest(self) -> Moving:
        """Where it starts, without moving."""

    @abc.abstractmethod
    def acceleration(self, state: Moving, force: Array) -> Array:
        """Of the mass in m/s², of the joints in rad/s²."""

    @abc.abstractmethod
    def hand(self, state: Moving) -> tuple[Array, Array]:
        """Where the hand is, in m, and its velocity, in m/s."""

    def moved(self, state: Moving, force: Array) -> Moving:
        """The state a step later."""
        velocity = state.velocity + self.step * self.acceleration(state, force)
        return Moving(state.place + self.step * velocity, velocity)


class PointMass(Body):
    r"""A point mass in a plane, pushed by a force: `mass v̇ = u − damping v`.

    **Arguments:** `mass`: kg, positive; `damping`: N s/m, at least 0; `step`: s, positive.

    **Raises:** `ValueError` for values outside these ranges.

    Source: docs/theory.md, section 10 (`lg.tasks.point_mass` is its linear task in one dimension).

    >>> body = PointMass(step=0.25)
    >>> body.moved(body.rest(), jnp.array([1.0, 0.0])).velocity.tolist()
    [0.25, 0.0]
    """

    mass: float = eqx.field(default=1.0, static=True)
    damping: float = eqx.field(default=2.0, static=True)
    step: float = eqx.field(default=0.02, static=True)

    def __post_init__(self) -> None:
        self.mass = within("mass", self.mass, 0, np.inf, "what has no mass has no dynamics")
        self.damping = within("damping", self.damping, 0, np.inf, "a mass that drives itself runs away", or_first=True)
        self.step = within("step", self.step, 0, np.inf, "time runs forward")

    def rest(self) -> Moving:
        """In the origin."""
        return Moving(jnp.zeros(2), jnp.zeros(2))

    def acceleration(self, state: Moving, force: Array) -> Array:
        """`(u − damping v) / mass`."""
        return (force - self.damping * state.velocity) / self.mass

    def hand(self, state: Moving) -> tuple[Array, Array]:
        """The mass itself."""
        return state.place, state.velocity


class TwoJointArm(Body):
    r"""An arm of two rods in a plane, moved by torques at shoulder and elbow.

    It starts with the shoulder at 45° and the elbow bent by 90°. The rods are 0.30 and 0.33 m long, with moments of
    inertia of 0.025 and 0.045 kg m²; the second one has 1.0 kg with its centre at 0.16 m. The friction of the joints
    is `[[0.05, 0.025], [0.025, 0.05]]` N m s.

    **Arguments:** `step`: s, positive. **Raises:** `ValueError` for a step that is not.

    Source: Todorov & Li 2005.

    >>> arm = TwoJointArm()
    >>> [round(float(x), 3) for x in arm.hand(arm.rest())[0]]
    [-0.021, 0.445]
    """

    step: float = eqx.field(default=0.02, static=True)

    def __post_init__(self) -> None:
        self.step = within("step", self.step, 0, np.inf, "time runs forward")

    def rest(self) -> Moving:
        """Shoulder at 45°, elbow bent by 90°."""
        return Moving(jnp.array([np.pi / 4, np.pi / 2]), jnp.zeros(2))

    def acceleration(self, state: Moving, force: Array) -> Array:
        """`M⁻¹ (u − C − D θ̇)`."""
        elbow = state.place[1]
        first, second = state.velocity
        a1 = _INERTIA_1 + _INERTIA_2 + _MASS_2 * _LENGTH_1**2
        a2, a3 = _MASS_2 * _LENGTH_1 * _CENTRE_2, _INERTIA_2
        cross = a3 + a2 * jnp.cos(elbow)
        coriolis = a2 * jnp.sin(elbow) * jnp.stack([-second * (2 * first + second), first**2])
        torque = force - coriolis - jnp.asarray(_FRICTION, elbow.dtype) @ state.velocity
        whole = a1 + 2 * a2 * jnp.cos(elbow)
        determinant = whole * a3 - cross**2
        return jnp.stack([a3 * torque[0] - cross * torque[1], whole * torque[1] - cross * torque[0]]) / determinant

    def hand(self, state: Moving) -> tuple[Array, Array]:
        """By the angles of the rods."""
        angles, speeds = jnp.cumsum(state.place), jnp.cumsum(state.velocity)
        lengths = jnp.array([_LENGTH_1, _LENGTH_2], angles.dtype)
        x, y = lengths * jnp.cos(angles), lengths * jnp.sin(angles)
        return jnp.stack([x.sum(), y.sum()]), jnp.stack([-(y * speeds).sum(), (x * speeds).sum()])


_LENGTH_1, _LENGTH_2 = 0.30, 0.33
_MASS_2 = 1.0
_CENTRE_2 = 0.16
_INERTIA_1, _INERTIA_2 = 0.025, 0.045
_FRICTION = np.array([[0.05, 0.025], [0.025, 0.05]])
