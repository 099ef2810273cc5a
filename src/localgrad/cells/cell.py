r"""A recurrent cell in local form is *mixing* and *local dynamics*.

Every unit `a` has a state `s_a` of `d` numbers, hears `k` drives and moves by itself:

    u_t = W^{(1..k)} z_{t−1} + B^{(1..k)} x_t + b^{(1..k)},   s_{a,t} = f(s_{a,t−1}, u_{a,t}; p_a),   z_t = g(s_t).

So all that a learning rule needs of a cell are the derivatives of `f` and `g` at each unit, a handful of numbers a
unit, which forward differentiation finds with one pass for each argument of one unit. No matrix of units × units is
made but for the weights themselves.

Limits: a cell with recurrent weights emits one number a unit. Parameters `p` are one number a unit each.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_finite, in_our_arithmetic, in_words
from localgrad.models.linear import as_float_array

_MIXING = ("W", "B", "bias", "mask", "signs")


class Weights(NamedTuple):
    """The weights of the drives: shapes `"drives hidden hidden"`, `"drives hidden input"`, `"drives hidden"`."""

    W: Any
    B: Any
    bias: Any


class Cell(eqx.Module):
    r"""A recurrent cell of one's own: its local function and its emission; all else follows by differentiation.

    `u_t = W z_{t−1} + B x_t + bias`, `s_t = local(s_{t−1}, u_t)`, `z_t = emit(s_t)`, from `s_0 = 0`.

    Subclass it with the parameters of units as fields (a number, or one for each unit) and write in `jax.numpy`, for
    all units at once but without any unit hearing another:

    - `local(self, s, u)`: the next state. `s` has shape `"hidden"`, or `"states hidden"` where the class attribute
        `states` is more than 1; `u` has shape `"hidden"`, or `"drives hidden"` where there are several drives.
    - `emit(self, s)`: what other units and the readout hear, shape `"hidden"`, or `"emitted hidden"` where the class
        attribute `emitted` is more than 1.

    **Arguments:** dimensionless,

    - `W`: recurrent weights, shape `"hidden hidden"`, or `"drives hidden hidden"`; `None` for units that do not hear
        one another.
    - `B`: input weights, shape `"hidden input"`, or `"drives hidden input"`.
    - `bias`: shape `"hidden"`, or `"drives hidden"`, or `None`.
    - `mask`: by keyword, an array that multiplies `W`, with 0 where there is no synapse.
    - `signs`: by keyword, `+1` or `−1` for each presynaptic unit, shape `"hidden"` (Dale's law): the synapses are
        `|W| ∘ signs`.
    - `learns`: by keyword, the names of the arrays that learn; others have an update of 0.

    **Raises:** `ValueError` for shapes that do not fit together.

    Source: docs/theory.md, section 12.

    >>> class Leaky(Cell):
    ...     leak: float
    ...     def local(self, s, u):
    ...         return (1 - self.leak) * s + self.leak * jnp.tanh(u)
    ...     def emit(self, s):
    ...         return s
    >>> Leaky([[0.5]], [[1.0]], None, leak=0.1).sizes
    (1, 1)
    """

    W: Any
    B: Any
    bias: Any
    mask: Any = eqx.field(default=None, kw_only=True)
    signs: Any = eqx.field(default=None, kw_only=True)
    learns: tuple[str, ...] = eqx.field(default=(), kw_only=True, static=True)

    states: ClassVar[int] = 1
    emitted: ClassVar[int] = 1
    learned: ClassVar[tuple[str, ...]] = ("W", "B", "bias")

    @in_our_arithmetic
    def __post_init__(self) -> None:
        for name in _MIXING:
            value = getattr(self, name)
            setattr(self, name, None if value is None else as_float_array(value, f"{name} of the cell"))
        _check_weights(self)
        for name in unit_parameters(self):
            setattr(self, name, _one_a_unit(getattr(self, name), name, self.sizes[0], self.B.dtype))
        check_finite(f"{type(self).__name__} cell", jax.tree.leaves(self))
        known = {*_MIXING[:3], *unit_parameters(self)}
        self.learns = type(self).learned if self.learns == () else self.learns
        if not isinstance(self.learns, tuple) or not set(self.learns) <= known:
            raise ValueError(f"learns is {in_words(self.learns)}; give a tuple of names of {', '.join(sorted(known))}")

    def local(self, s: Any, u: Any) -> Any:
        """The next state of every unit, from its own state and its own drives."""
        raise TypeError(f"the cell {type(self).__name__} has no local function; write local(self, s, u)")

    def emit(self, s: Any) -> Any:
        """What other units and the readout hear of a state."""
        raise TypeError(f"the cell {type(self).__name__} has no emission; write emit(self, s)")

    @property
    def sizes(self) -> tuple[int, int]:
        """`(hidden, input)`."""
        return self.B.shape[-2], self.B.shape[-1]

    @property
    def width(self) -> int:
        """How many numbers it emits a step."""
        return type(self).emitted * self.sizes[0]

    def weights(self) -> Weights:
        """The weights of the drives as they act, with masks and signs."""
        W = self.W
        if W is not None:
            W = W if self.signs is None else jnp.abs(W) * self.signs
            W = W if self.mask is None else W * self.mask
        k = 1 if self.B.ndim == 2 else len(self.B)

        def by_drive(x: Any) -> Any:
            return None if x is None else x.reshape(k, self.sizes[0], -1)

        bias = None if self.bias is None else self.bias.reshape(k, -1)
        return Weights(by_drive(W), by_drive(self.B), bias)


def unit_parameters(cell: Cell) -> tuple[str, ...]:
    """The names of a cell's parameters that are one number a unit."""
    own = (f for f in fields(cell) if not f.metadata.get("static", False))
    return tuple(f.name for f in own if f.name not in _MIXING)


def own_learned(cell: Cell) -> tuple[str, ...]:
    """The names of a cell's parameters of units that learn."""
    return tuple(name for name in unit_parameters(cell) if name in cell.learns)


def moved(cell: Cell, s: Any, u: Any) -> Any:
    """The next state: `local` for states `"states hidden"` and drives `"drives hidden"`, whatever their numbers."""
    found = cell.local(s[0] if len(s) == 1 else s, u[0] if len(u) == 1 else u)
    return jnp.asarray(found).reshape(s.shape)


def emission(cell: Cell, s: Any) -> Any:
    """What is heard of a state, shape `"emitted hidden"`."""
    return jnp.asarray(cell.emit(s[0] if len(s) == 1 else s)).reshape(type(cell).emitted, -1)


@lru_cache(maxsize=256)
def _check_local(structure: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    """`ValueError` where the local function makes another shape, or a unit hears another one's state."""
    with jax.ensure_compile_time_eval():
        rng = np.random.default_rng(0)
        cell = jax.tree.unflatten(structure, [jnp.asarray(rng.uniform(0.2, 0.8, shape)) for shape in shapes])
        kind, hidden = type(cell).__name__, cell.sizes[0]
        drives = len(cell.weights().B)
        s, u = (jnp.asarray(rng.normal(size=(count, hidden))) for count in (cell.states, drives))
        found = cell.local(s[0] if len(s) == 1 else s, u[0] if drives == 1 else u)
        heard = cell.emit(s[0] if len(s) == 1 else s)
        for what, value, count in (("local", found, cell.states), ("emit", heard, cell.emitted)):
            wanted = (hidden,) if count == 1 else (count, hidden)
            if np.shape(value) != wanted:
                raise ValueError(f"{what} of the cell {kind} returns shape {np.shape(value)}, and must {wanted}")
        _check_emission(cell, s)
        for group in _groups(hidden):
            _, change = jax.jvp(lambda s, u: moved(cell, s, u), (s, u), (s * group, u * group))
            _, emitted = jax.jvp(lambda s: emission(cell, s), (s,), (s * group,))
            other, heard_then = moved(cell, s + group, u + group), emission(cell, s + group)
            by_value = (np.asarray(x - y) for x, y in ((other, moved(cell, s, u)), (heard_then, emission(cell, s))))
            if any(np.any(np.asarray(x)[:, ~group]) for x in (change, emitted, *by_value)):
                raise ValueError(
                    f"the local function or the emission of the cell {kind} mixes units; let units hear one another "
                    "through W only"
                )


def _check_emission(cell: Cell, s: Any) -> None:
    """`ValueError` where what is heard depends on a parameter that learns, of which no trace would know."""
    for name in own_learned(cell):
        one = jnp.ones_like(getattr(cell, name))

        def emitted(value: Any, name: str = name) -> Any:
            return emission(eqx.tree_at(lambda c: getattr(c, name), cell, value), s)

        if np.any(np.asarray(jax.jvp(emitted, (one,), (one,))[1])):
            raise ValueError(
                f"the emission of the cell {type(cell).__name__} depends on {name}, which learns; leave {name} out of "
                "learns"
            )


def check_local(cell: Cell) -> None:
    """`ValueError` where a cell's local function is none; found by differentiation, once for each kind of cell."""
    leaves, structure = jax.tree.flatten(cell)
    _check_local(structure, tuple(np.shape(x) for x in leaves))


def _groups(hidden: int) -> list[np.ndarray]:
    """Groups of units such that for every two units one group holds the first and not the second."""
    numbers = np.arange(hidden)
    bits = [(numbers >> i) & 1 == 1 for i in range(max(hidden - 1, 1).bit_length())]
    return [group for bit in bits for group in (bit, ~bit)]


def _check_weights(cell: Cell) -> None:
    if cell.B is None or cell.B.ndim not in (2, 3) or 0 in cell.B.shape:
        shape = None if cell.B is None else cell.B.shape
        raise ValueError(f"B of the cell has shape {shape}; give input weights, hidden × input, or a stack of them")
    hidden, drives = cell.B.shape[-2], cell.B.shape[:-2]
    wanted = {"W": (*drives, hidden, hidden), "bias": (*drives, hidden), "signs": (hidden,)}
    for name, shape in wanted.items():
        value = getattr(cell, name)
        if value is not None and value.shape != shape:
            raise ValueError(f"{name} of the cell has shape {value.shape}, but B is {cell.B.shape}; give {shape}")
    for name in ("mask", "signs"):
        if getattr(cell, name) is not None and cell.W is None:
            raise ValueError(f"the cell has {name} but no recurrent weights; leave {name} out")
    if cell.mask is not None and cell.mask.shape not in (wanted["W"], (hidden, hidden)):
        raise ValueError(f"mask of the cell has shape {cell.mask.shape}; give that of W, {wanted['W']}")
    known = cell.signs is not None and not isinstance(cell.signs, jax.core.Tracer)
    if known and not np.all(np.abs(np.asarray(cell.signs)) == 1):
        raise ValueError("signs of the cell must be +1 or −1 for each unit")
    if cell.W is not None and type(cell).emitted != 1:
        raise ValueError(f"the cell {type(cell).__name__} emits several numbers a unit and can have no W; give None")


def _one_a_unit(value: Any, name: str, hidden: int, dtype: Any) -> Any:
    found = as_float_array(value, f"{name} of the cell")
    if found.shape not in ((), (1,), (hidden,)):
        raise ValueError(f"{name} of the cell has shape {found.shape}; give one number, or one for each unit {hidden}")
    return jnp.broadcast_to(found, (hidden,)).astype(dtype)
