r"""Spiking units: leaky integrate-and-fire, with a fixed or an adaptive threshold.

A unit spikes, `z = 1`, where its potential `v` is above the threshold `θ`; `θ` is then taken off. What stands for the
derivative of a spike is in `activations.py`. The reset carries no credit unless `reset_learns`, as in Bellec et al.

Limits: no refractory period.

Source: Bellec et al. 2020; docs/theory.md, section 12.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from localgrad.cells.activations import spike
from localgrad.cells.cell import Cell
from localgrad.checks import check_flag, check_range


class LIF(Cell):
    r"""Leaky integrate-and-fire units: `v_t = α v_{t−1} + u_t − θ z_{t−1}`, heard as spikes `z_t = Θ(v_t − θ)`.

    **Arguments:** `W`, `B`, `bias`, `mask`, `signs`, `learns`: as of `lg.Cell`. One number, or one for each unit:
    `decay`: `α`, in [0, 1]; `threshold`: `θ`, positive; `dampening`: of the surrogate derivative, at least 0.
    `reset_learns`: whether credit also passes the reset.

    **Raises:** as `lg.Cell`, and for a number outside its interval.

    Source: Bellec et al. 2020; docs/theory.md, section 12.
    """

    decay: Any = 0.9
    threshold: Any = 1.0
    dampening: Any = 0.3
    reset_learns: bool = eqx.field(default=False, static=True)

    def __check_init__(self) -> None:
        check_flag("reset_learns", self.reset_learns)
        _check_unit(self)

    def local(self, s: Any, u: Any) -> Any:
        """`α v + u − θ z`."""
        z = self.emit(s)
        return self.decay * s + u - self.threshold * (z if self.reset_learns else jax.lax.stop_gradient(z))

    def emit(self, s: Any) -> Any:
        """`Θ(v − θ)`."""
        return spike((s - self.threshold) / self.threshold, self.dampening)


class AdaptiveLIF(Cell):
    r"""Integrate-and-fire units whose threshold rises with every spike: `z_t = Θ(v_t − θ − β a_t)`.

    `v` as of `LIF`, and `a_t = ρ a_{t−1} + z_{t−1}`. The state of a unit is `(v, a)`; credit passes through `a`.

    **Arguments:** as of `LIF`, and `adaptation`: `ρ`, in [0, 1]; `strength`: `β`, at least 0. **Raises:** as `lg.Cell`.

    Source: Bellec et al. 2020; docs/theory.md, section 12.
    """

    states: ClassVar[int] = 2

    decay: Any = 0.9
    threshold: Any = 1.0
    dampening: Any = 0.3
    adaptation: Any = 0.97
    strength: Any = 0.1
    reset_learns: bool = eqx.field(default=False, static=True)

    def __check_init__(self) -> None:
        check_flag("reset_learns", self.reset_learns)
        _check_unit(self)
        check_range("adaptation of an AdaptiveLIF", self.adaptation, 0, 1)
        check_range("strength of an AdaptiveLIF", self.strength, 0, math.inf, ends="[)")

    def local(self, s: Any, u: Any) -> Any:
        """`(v, a)` of the next step."""
        z = self.emit(s)
        v = self.decay * s[0] + u - self.threshold * (z if self.reset_learns else jax.lax.stop_gradient(z))
        return jnp.stack([v, self.adaptation * s[1] + z])

    def emit(self, s: Any) -> Any:
        """`Θ(v − θ − β a)`."""
        return spike((s[0] - self.threshold - self.strength * s[1]) / self.threshold, self.dampening)


def _check_unit(cell: LIF | AdaptiveLIF) -> None:
    kind = type(cell).__name__
    check_range(f"decay of a {kind}", cell.decay, 0, 1)
    check_range(f"threshold of a {kind}", cell.threshold, 0, math.inf, ends="()")
    check_range(f"dampening of a {kind}", cell.dampening, 0, math.inf, ends="[)")
