r"""Rules compared on one path: what each would do where a network is, and how that differs from the gradient.

At every network of a batch (the snapshots of one learning curve, say, whoever made it) each rule's exact expected
update `Δ` is compared with BPTT's, `∇`, which is the gradient of the loss (in a closed loop BPTT through the plant):

    cosine = ⟨Δ, ∇⟩/(‖Δ‖‖∇‖),   size ratio = ‖Δ‖/‖∇‖.

A rule with a positive cosine still lowers the loss in small steps. `ΔA` is the same for every rule and can hide how
`ΔW` and `ΔB` differ, so these are compared alone as well.

Limits: at a solution all updates vanish; close to it, cosines are those of rounding errors. All networks of a batch
go through one compiled program of the Stein equations (infinite horizon), `O(n³)` each.

Source: docs/theory.md, section 3.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from localgrad.checks import in_our_arithmetic
from localgrad.diagnostics.values import cosine
from localgrad.models.arrays import arrays_of, leading_axes, map_arrays
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.kinds import check_model
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.engines import engine_of, given_task
from localgrad.updates.horizon import Horizon, Loss


class Agreement(NamedTuple):
    """How updates agree with BPTT's gradient; both arrays have shape `"rules ..."`.

    - `cosine`: in [−1, 1]; 0 where the update or the gradient is 0.
    - `size_ratio`: the update's norm over the gradient's; infinite where only the gradient is 0, 1 where both are.
    """

    cosine: np.ndarray
    size_ratio: np.ndarray


class UpdateComparison(NamedTuple):
    """Each rule's update against BPTT's gradient.

    - `rules`: the rules' names, in the order of the first axis of every array.
    - `whole`: the `Agreement` over all parameters; `W` and `B`: over these alone. Of a layer, `W` is over the poles,
        and a complex number is two.
    """

    rules: tuple[str, ...]
    whole: Agreement
    W: Agreement
    B: Agreement


@in_our_arithmetic
def compare_updates(
    rules: Sequence[Rule],
    networks: LinearRNN | LeakyRNN | DiagonalSSM,
    task: LinearRNN | DiagonalSSM | LinearTask,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
) -> UpdateComparison:
    r"""The cosine and relative size of each rule's expected update to BPTT's gradient, at every network of a batch.

    `⟨Δ, ∇⟩/(‖Δ‖‖∇‖)` and `‖Δ‖/‖∇‖`, over all parameters and over `W` and `B` alone.

    **Arguments:**

    - `rules`: at least one; a fixed feedback of shape `"output hidden"` serves all networks.
    - `networks`: a `LinearRNN`, `LeakyRNN` or `DiagonalSSM` with any leading axes, the same for all its arrays.
    - `task`, `horizon`, `loss`: as in `expected_update`.

    **Returns:** an `UpdateComparison`.

    **Raises:** `ValueError` as `expected_update`; where a network of the batch has no update (`ρ(W) ≥ 1` with an
    infinite horizon, say) it names the network and the reason.

    Source: docs/theory.md, section 3.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]), lg.LinearRNN([[1.0]], [[0.8]], [[1.0]])
    >>> found = compare_updates([lg.EProp(), lg.RFLO([[-1.0]], 0.5)], student, teacher)
    >>> found.W.cosine.tolist()  # symmetric e-prop is BPTT in a mode; RFLO with the wrong sign goes the other way
    [1.0, -1.0]
    """
    leading = _check_batch(rules, networks)
    over, task = Horizon.of(horizon, loss), given_task(task)
    batch = map_arrays(lambda axes, x: x.reshape(-1, *x.shape[x.ndim - axes :]), networks)
    through = not isinstance(task, DiagonalSSM) and task.is_closed_loop

    def parts(rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All parameters, those of the recurrence and of the input of the updates, as rows "... parameters"."""
        found = _updates(in_compiled_form(rule, *networks.sizes[:2]), batch, task, over)
        rows = {name: _real_row(x, leading) for name, x in arrays_of(found).items()}
        recurrent, inward = (rows[name] for name in _WEIGHTS[type(networks)])
        _explain_missing(np.isnan(recurrent[..., 0]), rule, networks, task, over)
        return np.concatenate(list(rows.values()), axis=-1), recurrent, inward

    gradient = parts(BPTT(through_plant=through))
    updates = [parts(rule) for rule in rules]
    whole, W, B = (
        _agreement(np.stack(part), reference)
        for part, reference in zip(zip(*updates, strict=True), gradient, strict=True)
    )
    return UpdateComparison(tuple(rule.name for rule in rules), whole, W, B)


# The arrays that `UpdateComparison.W` and `.B` speak of.
_WEIGHTS = {LinearRNN: ("W", "B"), LeakyRNN: ("W", "B"), DiagonalSSM: ("poles", "B")}


def _real_row(x: Any, leading: tuple[int, ...]) -> np.ndarray:
    """Numbers as rows of real ones: of a complex number its real and its imaginary part."""
    wide = np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
    return wide.reshape(*leading, -1).view(np.float64)


@eqx.filter_jit
def _updates(rule: Rule, batch: Any, task: Any, horizon: Horizon) -> Any:
    return jax.vmap(lambda student: engine_of(student).update(rule, student, task, horizon))(batch)


def _agreement(update: np.ndarray, gradient: np.ndarray) -> Agreement:
    size, reference = np.broadcast_arrays(*(np.linalg.norm(x, axis=-1) for x in (update, gradient)))
    without_gradient = np.where(size == 0, 1.0, np.inf)
    return Agreement(cosine(update, gradient), np.divide(size, reference, out=without_gradient, where=reference != 0))


def _check_batch(rules: Any, networks: Any) -> tuple[int, ...]:
    """The leading axes of the networks; `ValueError` where they or the rules are none."""
    if not isinstance(rules, Sequence) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise ValueError("rules must be a sequence of at least one Rule, for example [BPTT(), EProp()]")
    check_model(networks, "batch of networks", "stack their arrays")
    for rule in rules:
        Rule.check_fits(rule, *networks.sizes[:2], diagonal=isinstance(networks, DiagonalSSM))
    return leading_axes(networks)


def _explain_missing(missing: np.ndarray, rule: Rule, networks: Any, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that names the first network without an update, and says why it has none."""
    if not missing.any():
        return
    index = tuple(int(i) for i in np.argwhere(missing)[0])
    reason = "its update cannot be computed in this floating-point precision"
    try:
        engine_of(networks).update(rule, jax.tree.map(lambda x: x[index], networks), task, horizon)
    except ValueError as error:
        reason = str(error)
    where = f"the network at index {index} of the batch: " if index else ""
    raise ValueError(f"{rule.name}: {where}{reason}")
