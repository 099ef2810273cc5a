r"""The update of a network of cells on given sequences, under any rule: the door.

    loss = mean over the batch of Σ_t mask_t ℓ_t / Σ_t mask_t,   ℓ = ½ ‖y − y*‖² or the cross-entropy of softmax(y).

A rule carries credit back through a layer by `M_t`, made of the layer's state Jacobian `J_t = I_t + X_t`: what a unit
carries over by itself, and what goes through the weights. In BPTT `M = J`, and the update is the gradient.

- `recorded`: runs the network, keeps what it did, and goes back (`through_time_recorded.py`).
- `online`: forward in time, in memory that does not depend on the number of steps (`through_time_online.py`): by
    eligibility traces where `M` keeps every unit to itself, and by all sensitivities (RTRL) where `M = J`.

Both give the same numbers to rounding. A rule is asked for its structure, never for its name.

A late error (`delay`) also arrives after the end of its sequence: the network runs on in silence, without input, for as
many steps as errors are late. In the mean over white noise that is what linear networks do (`late.py`).

Limits: a term of one's own in `M` takes layers whose units have one number each.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from localgrad.cells.block import cell_of
from localgrad.cells.cell import check_local
from localgrad.cells.stack import Network
from localgrad.checks import (
    check_choice,
    check_finite,
    check_kind,
    check_memory,
    in_our_arithmetic,
    in_words,
    warn_if_cut,
)
from localgrad.models.arrays import in_precision, precision_of
from localgrad.models.linear import as_float_array
from localgrad.rules.coarse_traces import CoarseTraces
from localgrad.rules.compiled import with_arrays
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.rule import Rule
from localgrad.updates.coarsely import check_random, coarsened
from localgrad.updates.through_time_online import sensitivity_update, trace_update
from localgrad.updates.through_time_recorded import recorded_update
from localgrad.updates.through_time_steps import Carrying, Sequences

_LOSSES = ("mse", "cross_entropy")
_METHODS = ("auto", "recorded", "online")


class UpdateInfo(NamedTuple):
    """What comes with an update: `loss`, of the network as it was, and the `method` by which it was computed."""

    loss: Any
    method: str


@in_our_arithmetic
def network_update(
    rule: Rule | CoarseTraces,
    network: Network,
    inputs: Any,
    targets: Any,
    *,
    loss: str = "mse",
    mask: Any = None,
    method: str = "auto",
    key: Any = None,
) -> tuple[Network, UpdateInfo]:
    r"""The update of a network of cells on a batch of sequences, under any rule.

    `λ_{t−1} = M_tᵀ λ_t + (∂z/∂s)ᵀ Fᵀ ε_{t−1}` backwards, or `e_t = M_t e_{t−1} + ∂s_t/∂θ` forwards: the same update.

    **Arguments:**

    - `rule`: any `lg.Rule`. Its feedback has the shape of the readout's `A`; its propagator acts in every layer.
        One that carries credit through the weights (BPTT) also sends it down to lower layers; of others only the credit
        of the moment goes down.
    - `network`: an `lg.Network`.
    - `inputs`: shape `"batch time input"`. `targets`: shape `"batch time output"`, or for `"cross_entropy"` whole
        numbers from 0, the classes, shape `"batch time"`.
    - `loss`: `"mse"`, `½ ‖y − y*‖²` a step, or `"cross_entropy"`. `mask`: weights of the steps, shape `"batch time"`,
        at least 0 and not all 0 in any sequence; `None` counts all steps alike.
    - `method`: `"recorded"`, `"online"`, or `"auto"`, which is `"recorded"` wherever traces are not rounded.
    - `key`: random numbers of `lg.CoarseTraces` that round at random, for which it must be given.

    **Returns:** `(update, info)`: an `lg.Network` to be subtracted times a learning rate, and the `loss` and `method`.

    **Raises:** `ValueError` for shapes that do not fit, numbers that are not finite, classes out of range, a mask of
    zeros, a cell whose local function mixes units, and a rule that the method or a cell cannot honour.

    Source: docs/theory.md, section 12.

    >>> from localgrad.cells.rates import LeakyRate
    >>> from localgrad.cells.stack import Readout
    >>> network = Network(LeakyRate([[0.5]], [[1.0]], None, leak=0.5), Readout([[1.0]]))
    >>> update, info = network_update(Rule(), network, [[[1.0], [0.0]]], [[[0.0], [0.0]]])
    >>> update.layers[0].W.shape
    (1, 1)
    """
    coarse, rule = (rule, rule.rule) if isinstance(rule, CoarseTraces) else (None, rule)
    check_kind("rule", rule, Rule, "the order is rule, network, inputs, targets")
    check_kind("network", network, Network, "make one by lg.Network(layers, lg.Readout(A))")
    check_choice("loss", loss, _LOSSES)
    check_choice("method", method, _METHODS)
    warn_if_cut("an array of the sequences", inputs, targets, mask)
    check_network(network)
    check_rule(rule, network)
    dtype = precision_of(network)
    data = in_precision(dtype, sequences_of(network, inputs, targets, loss, mask))
    carrying = carrying_of(rule, len(data.inputs))
    chosen = ("online" if coarse and coarse.step else "recorded") if method == "auto" else method
    how = way_of(rule, network, data, chosen)
    carrying = coarsened(carrying, coarse, network, how)
    check_random(coarse, key)
    exactly = in_precision(dtype, with_arrays(carrying))._replace(key=key)
    update, value = _computed(in_precision(dtype, network), exactly, data, loss, how)
    return update, UpdateInfo(value, chosen)


@eqx.filter_jit
def _computed(network: Network, carrying: Carrying, data: Sequences, loss: str, how: str) -> tuple[Network, Any]:
    return _WAYS[how](network, carrying, _running_on(data, carrying.delay), loss)


_WAYS = {"recorded": recorded_update, "traces": trace_update, "sensitivities": sensitivity_update}


def update_in(way: str, rule: Rule, network: Network, data: Sequences, loss: str) -> tuple[Network, Any]:
    """The update and the loss in a way of `way_of`, within a program of the caller's; nothing is checked."""
    return _WAYS[way](network, carrying_of(rule, len(data.inputs)), _running_on(data, rule.delay), loss)


def _running_on(data: Sequences, steps: int) -> Sequences:
    """The sequences with some steps of silence after their end, which count for nothing."""
    if not steps:
        return data
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros((steps, *x.shape[1:]), x.dtype)]), data)


def way_of(rule: Rule, network: Network, data: Sequences, method: str) -> str:
    """How an update is computed; `ValueError` where a rule has no such form, or there is not the memory."""
    online = method == "online"
    way = online_form(rule, carrying_of(rule, len(data.inputs)), network) if online else "recorded"
    _check_memory(network, data, way, rule.delay)
    return way


def check_network(network: Network) -> None:
    """`ValueError` where a network is not finite, or a cell mixes units."""
    check_finite("network", network)
    for layer in network.layers:
        check_local(cell_of(layer))


def _check_memory(network: Network, data: Sequences, how: str, delay: int) -> None:
    """`ValueError` where what is kept of a way takes more memory than there is."""
    steps, batch, _ = data.inputs.shape
    cells = [cell_of(layer) for layer in network.layers]
    states = sum(cell.states * cell.sizes[0] for cell in cells)
    size = data.inputs.dtype.itemsize
    if how == "recorded":
        kept = (
            (steps + delay)
            * batch
            * sum(cell.states * (cell.states + len(cell.weights().B)) * cell.sizes[0] for cell in cells)
        )
        check_memory("the derivatives of all steps", kept * size, "give shorter sequences or a smaller batch")
        return
    weights = sum(x.size for x in jax.tree.leaves(network.layers))
    kept = batch * max(cell.states for cell in cells) * weights
    if how == "sensitivities":
        kept = weights * (weights + batch * states)
    check_memory("the traces of all weights", kept * size, "use method 'recorded', or a smaller network or batch")


def carrying_of(rule: Rule, steps: int) -> Carrying:
    """What of a rule shapes its update on sequences of so many steps."""
    lags = None if rule.lags is None or rule.lags >= steps + rule.delay else rule.lags
    propagator = Propagator() if lags == 1 else rule.propagator
    return Carrying(rule.feedback, propagator, lags, rule.delay)


def online_form(rule: Rule, carrying: Carrying, network: Network) -> str:
    """How an update is computed online; `ValueError` where a rule has no such form."""
    if carrying.lags is not None and carrying.lags > 1:
        raise ValueError(
            f"rule {rule.name!r} keeps {rule.lags} lags, which no eligibility trace counts; use method 'recorded', one "
            "lag or all of them"
        )
    alone = len(network.layers) == 1 and cell_of(network.layers[0]).W is None
    if carrying.propagator.is_elementwise or (alone and not carrying.propagator.terms):
        return "traces"
    if carrying.propagator.is_jacobian and network.feedback is None:
        return "sensitivities"
    raise ValueError(
        f"rule {rule.name!r} carries credit by a dense matrix that is not the Jacobian, which no eligibility trace "
        "holds; use method 'recorded'"
    )


def check_rule(rule: Rule, network: Network) -> None:
    """`ValueError` where a rule does not fit a network of cells."""
    Rule(rule.feedback, Propagator()).check_fits(len(network.readout.A), network.layers[-1].width)
    for layer in map(cell_of, network.layers):
        Rule(Feedback(symmetric=1), rule.propagator).check_fits(1, layer.sizes[0])
        if rule.propagator.terms and layer.states > 1:
            raise ValueError(
                f"the term {type(rule.propagator.terms[0]).__name__} acts on a Jacobian of one number a unit, but a "
                f"{type(layer).__name__} has {layer.states}; leave the term out"
            )


# --- data ------------------------------------------------------------------------------------------------------------


def sequences_of(network: Network, inputs: Any, targets: Any, loss: str, mask: Any) -> Sequences:
    """The sequences, time first, with the weight of every error in the loss."""
    output, _, channels = network.sizes
    inputs = as_float_array(inputs, "inputs")
    if inputs.ndim != 3 or inputs.shape[2] != channels or 0 in inputs.shape:
        raise ValueError(f"inputs have shape {inputs.shape}; give (batch, time, {channels}), at least one of each")
    batch, steps = inputs.shape[:2]
    wanted = (batch, steps) if loss == "cross_entropy" else (batch, steps, output)
    targets = _classes(targets, output) if loss == "cross_entropy" else as_float_array(targets, "targets")
    if targets.shape != wanted:
        raise ValueError(f"targets have shape {targets.shape}, but for loss {loss!r} must have {wanted}")
    check_finite("inputs", inputs)
    check_finite("targets", targets)
    if loss == "cross_entropy":
        targets = jax.nn.one_hot(targets, output)
    weights = _weights(mask, batch, steps)
    return Sequences(inputs.swapaxes(0, 1), targets.swapaxes(0, 1), weights.T)


def _classes(targets: Any, output: int) -> Any:
    found = targets if isinstance(targets, jax.core.Tracer) else np.asarray(as_float_array(targets, "targets"))
    if isinstance(found, jax.core.Tracer):
        return found.astype(int)
    if not np.all((found == np.round(found)) & (found >= 0) & (found < output)):
        raise ValueError(f"targets must be classes, whole numbers from 0 to {output - 1}; got {_worst(found, output)}")
    return jnp.asarray(found.astype(int))


def _worst(found: np.ndarray, output: int) -> str:
    wrong = found[~((found == np.round(found)) & (found >= 0) & (found < output))]
    return in_words(float(wrong.ravel()[0]))


def _weights(mask: Any, batch: int, steps: int) -> Any:
    """What multiplies every step's loss: shape `"batch time"`, adding up to 1."""
    if mask is None:
        return jnp.full((batch, steps), 1 / (batch * steps))
    kind = getattr(mask, "dtype", None)
    found = as_float_array(np.asarray(mask, float) if kind == np.bool_ else mask, "the mask")
    if found.shape != (batch, steps):
        raise ValueError(f"the mask has shape {found.shape}; give {(batch, steps)}, (batch, time)")
    check_finite("mask", found)
    if not isinstance(found, jax.core.Tracer):
        if np.any(np.asarray(found) < 0):
            raise ValueError("the mask has a negative entry; give weights of at least 0")
        if not np.all(np.asarray(found).sum(1) > 0):
            raise ValueError("the mask of a sequence is 0 throughout; give at least one step that counts")
    return found / (batch * found.sum(1, keepdims=True))
