r"""Diagonal state-space layers as cells: LRU, S5, and a selective one, whose step of time depends on its input.

Every unit is one complex number, `s_t = λ s_{t−1} + γ u_t`, kept as its real and imaginary part, and hears no other
unit: `W` is `None`. Both parts are heard: a complex readout `Re(C s)` is the readout `[Re C, −Im C]` of a network.

Source: Orvieto et al. 2023; Smith et al. 2023; Gu & Dao 2023; docs/theory.md, sections 11 and 12.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from localgrad.cells.cell import Cell
from localgrad.cells.gated import check_drives


class _Diagonal(Cell):
    states: ClassVar[int] = 2
    emitted: ClassVar[int] = 2
    drives: ClassVar[int] = 2

    def __check_init__(self) -> None:
        check_drives(self, type(self).drives)

    def emit(self, s: Any) -> Any:
        """Real and imaginary part."""
        return s


class LRU(_Diagonal):
    r"""Linear recurrent units: `s_t = λ s_{t−1} + γ (B x_t)` with `λ = exp(−exp ν + i phase)`, `γ = exp(log_gain)`.

    **Arguments:** `W`: `None`. `B`: real and imaginary part of the input weights, shape `"2 hidden input"`; `bias`:
    shape `"2 hidden"` or `None`. One number, or one for each unit: `nu`: `ν`; `phase`, in radians; `log_gain`. All
    learn unless `learns` says otherwise.

    **Raises:** as `lg.Cell`.

    Source: Orvieto et al. 2023; docs/theory.md, sections 11 and 12.
    """

    nu: Any = -1.0
    phase: Any = 0.0
    log_gain: Any = 0.0

    learned: ClassVar[tuple[str, ...]] = ("B", "bias", "nu", "phase", "log_gain")

    def local(self, s: Any, u: Any) -> Any:
        """`λ s + γ u`."""
        return _turned(-jnp.exp(self.nu), self.phase, s) + jnp.exp(self.log_gain) * u


class S5(_Diagonal):
    r"""A layer in continuous time, held between samples: `s_t = e^{ΛΔ} s_{t−1} + (e^{ΛΔ} − 1)/Λ (B x_t)`.

    `Λ = −exp(log_decay) + i frequency` and `Δ = exp(log_step)`.

    **Arguments:** `W`: `None`. `B`, `bias`: as of `LRU`. One number, or one for each unit: `log_decay`, `frequency` in
    radians a unit of time, `log_step`. All learn unless `learns` says otherwise. **Raises:** as `lg.Cell`.

    Source: Smith et al. 2023; docs/theory.md, sections 11 and 12.
    """

    log_decay: Any = -0.5
    frequency: Any = 0.0
    log_step: Any = -1.0

    learned: ClassVar[tuple[str, ...]] = ("B", "bias", "log_decay", "frequency", "log_step")

    def local(self, s: Any, u: Any) -> Any:
        """`e^{ΛΔ} s + (e^{ΛΔ} − 1)/Λ u`."""
        real, step = -jnp.exp(self.log_decay), jnp.exp(self.log_step)
        return _held(real, self.frequency, step, s, u)


class Selective(_Diagonal):
    r"""A layer whose step of time depends on its input: `S5` with `Δ_t = softplus(u³_t)`.

    What it hears therefore says how much of the state is kept.

    **Arguments:** `W`: `None`. `B`: shape `"3 hidden input"`: real and imaginary part of what enters the state, and the
    weights of the step of time; `bias`: shape `"3 hidden"` or `None`. One number, or one for each unit: `log_decay`,
    `frequency`. All learn unless `learns` says otherwise. **Raises:** as `lg.Cell`.

    Source: Gu & Dao 2023; docs/theory.md, section 12.
    """

    log_decay: Any = -0.5
    frequency: Any = 0.0

    drives: ClassVar[int] = 3
    learned: ClassVar[tuple[str, ...]] = ("B", "bias", "log_decay", "frequency")

    def local(self, s: Any, u: Any) -> Any:
        """`e^{ΛΔ} s + (e^{ΛΔ} − 1)/Λ (u¹ + i u²)` with `Δ = softplus(u³)`."""
        return _held(-jnp.exp(self.log_decay), self.frequency, jax.nn.softplus(u[2]), s, u[:2])


def _turned(log_size: Any, angle: Any, s: Any) -> Any:
    """`exp(log_size + i angle) s`, of real and imaginary parts."""
    size, cos, sin = jnp.exp(log_size), jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([size * (cos * s[0] - sin * s[1]), size * (sin * s[0] + cos * s[1])])


def _held(real: Any, imaginary: Any, step: Any, s: Any, u: Any) -> Any:
    """A step of `ds/dt = Λ s + u` with `u` held, for `Λ = real + i imaginary`."""
    entered = _turned(real * step, imaginary * step, u) - u
    norm = real**2 + imaginary**2
    divided = jnp.stack([real * entered[0] + imaginary * entered[1], real * entered[1] - imaginary * entered[0]])
    return _turned(real * step, imaginary * step, s) + divided / norm
