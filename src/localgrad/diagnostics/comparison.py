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

from localgrad.checks import check_kind, in_our_arithmetic
from localgrad.diagnostics.values import cosine
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.exact import exact_update
from localgrad.updates.horizon import Horizon, Loss
from localgrad.updates.problem import check_rule


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
    - `whole`: the `Agreement` over all parameters; `W` and `B`: over these alone.
    """

    rules: tuple[str, ...]
    whole: Agreement
    W: Agreement
    B: Agreement


@in_our_arithmetic
def compare_updates(
    rules: Sequence[Rule],
    networks: LinearRNN,
    task: LinearRNN | LinearTask,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
) -> UpdateComparison:
    r"""The cosine and relative size of each rule's expected update to BPTT's gradient, at every network of a batch.

    `⟨Δ, ∇⟩/(‖Δ‖‖∇‖)` and `‖Δ‖/‖∇‖`, over all parameters and over `W` and `B` alone.

    **Arguments:**

    - `rules`: at least one; a fixed feedback of shape `"output hidden"` serves all networks.
    - `networks`: a `LinearRNN` with any leading axes, the same for `A`, `W` and `B`.
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
    _check_batch(rules, networks)
    over, task = Horizon.of(horizon, loss), as_task(task)
    leading = networks.W.shape[:-2]
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[-2:]), networks)

    def parts(rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All parameters, `W` and `B` of the updates, each as rows "... parameters"."""
        found = _updates(in_compiled_form(rule, *networks.A.shape[-2:]), batch, task, over)
        A, W, B = (np.asarray(x, dtype=np.float64).reshape(*leading, -1) for x in found.matrices)
        _explain_missing(np.isnan(W[..., 0]), rule, networks, task, over)
        return np.concatenate([A, W, B], axis=-1), W, B

    gradient = parts(BPTT(through_plant=task.is_closed_loop))
    updates = [parts(rule) for rule in rules]
    whole, W, B = (
        _agreement(np.stack(part), reference)
        for part, reference in zip(zip(*updates, strict=True), gradient, strict=True)
    )
    return UpdateComparison(tuple(rule.name for rule in rules), whole, W, B)


@eqx.filter_jit
def _updates(rule: Rule, batch: LinearRNN, task: LinearTask, horizon: Horizon) -> LinearRNN:
    return jax.vmap(lambda network: exact_update(rule, network, task, horizon))(batch)


def _agreement(update: np.ndarray, gradient: np.ndarray) -> Agreement:
    size, reference = np.broadcast_arrays(*(np.linalg.norm(x, axis=-1) for x in (update, gradient)))
    without_gradient = np.where(size == 0, 1.0, np.inf)
    return Agreement(cosine(update, gradient), np.divide(size, reference, out=without_gradient, where=reference != 0))


def _check_batch(rules: Any, networks: Any) -> None:
    if not isinstance(rules, Sequence) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise ValueError("rules must be a sequence of at least one Rule, for example [BPTT(), EProp()]")
    check_kind("batch of networks", networks, LinearRNN, "stack their A, W and B")
    shapes = [x.shape[:-2] for x in networks.matrices]
    if len(set(shapes)) > 1:
        raise ValueError(f"A, W and B of the networks have leading axes {shapes}; they must be the same for all three")
    for rule in rules:
        check_rule(rule, networks)


def _explain_missing(missing: np.ndarray, rule: Rule, networks: LinearRNN, task: LinearTask, horizon: Horizon) -> None:
    """Raise the `ValueError` that names the first network without an update, and says why it has none."""
    if not missing.any():
        return
    index = tuple(int(i) for i in np.argwhere(missing)[0])
    reason = "its update cannot be computed in this floating-point precision"
    try:
        exact_update(rule, jax.tree.map(lambda x: x[index], networks), task, horizon)
    except ValueError as error:
        reason = str(error)
    where = f"the network at index {index} of the batch: " if index else ""
    raise ValueError(f"{rule.name}: {where}{reason}")
