r"""The covariance of one sampled update, exactly: how far the update of a single sequence is from its mean.

A sequence brings the update `Σ_e ε_e Z_e` of its last error `ε`, with the traces `Z_e` of all weights for each output
`e`. Both are linear in the Gaussian noise, and the traces' response to it is the rule itself: of the mean
`Δθ = H E` (`kernel.py`), `E` is the response of the error and `H_e` that of the traces. So by Isserlis' theorem, with
`S = Σ_ε = E Eᵀ` over lags and noises, and `Y_ef = H_e E_fᵀ`,

    Cov(θ_x, θ_y) = Σ_ef [ S_ef (H_e H_fᵀ)_xy + (Y_ef)_x (Y_fe)_y ].

Independent noise in the error (`LinearTask.with_error_noise`) adds its variance to `S` and nothing else. It leaves the
mean as it is, and where there is no other error, at an optimum, all that is left is `Σ_e σ_e² H_e H_eᵀ`. A delay shifts
the error's response against that of the traces. The update of a batch of N sequences has 1/N of the covariance.

Limits: the final-step loss, whose updates have one error; those of a sequence loss depend on each other. An infinite
horizon needs traces that end, `ρ(M) < 1`, also where the mean exists without.

Source: docs/theory.md, section 14; Isserlis 1918 for the fourth moments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from localgrad.checks import check_kind, check_memory, in_our_arithmetic
from localgrad.diagnostics.kernel import checked_problem, maps_of
from localgrad.rules.rule import Rule
from localgrad.updates.horizon import Horizon


class Responses(NamedTuple):
    """What error and traces make of the noise, over all lags: `E`, "output noises", and `H`, "weights output noises".

    `tangent` is `∂E/∂θ` of errors on time, "output noises weights".
    """

    error: np.ndarray
    traces: np.ndarray
    tangent: np.ndarray


@in_our_arithmetic
def update_covariance(rule: Rule, student: Any, task: Any, *, horizon: int | None = None) -> np.ndarray:
    r"""The covariance of the update that one sequence brings, over all weights.

    **Arguments:** `rule`, `student`, `task` as in `kernel`, a task with `with_error_noise` among them; `horizon`: steps
    of a sequence whose last error is learned from; `None` for a stationary one.

    **Returns:** an array of shape `"weights weights"` in float64, the weights in the order of the entries of `A`, `W`,
    `B`, each row by row. The mean is `expected_update`; a batch of N sequences has 1/N of it.

    **Raises:** `ValueError` as `kernel`, and where it does not fit into memory.

    Source: docs/theory.md, section 14.

    >>> import localgrad as lg
    >>> optimum = lg.LinearRNN([[1.0]], [[0.0]], [[1.0]])
    >>> noisy = lg.tasks.white_noise_teacher(optimum).with_error_noise(0.1)
    >>> update_covariance(lg.BPTT(), optimum, noisy).diagonal().round(4).tolist()
    [0.01, 0.01, 0.01]
    """
    check_kind("rule", rule, Rule)
    with jax.enable_x64(True):
        return covariance_of(responses_of(rule, student, task, horizon))


def responses_of(rule: Rule, student: Any, task: Any, horizon: int | None) -> Responses:
    """The responses at the time at which the last error arrives."""
    over = Horizon.of(horizon)
    rule, student, task = checked_problem(rule, student, task, over)
    run = over if over.steps is None else Horizon.of(over.steps + rule.delay)
    E, G, H = maps_of(rule.with_delay(0), student, task, run)
    lags, output, noises = E.shape
    check_memory(f"a covariance of {len(H)} weights", 8.0 * 4 * len(H) ** 2, "give a smaller student")
    if over.steps is not None:
        E = np.concatenate([E[: over.steps], np.zeros_like(E[over.steps :])])
    late = np.concatenate([np.zeros((rule.delay, output, noises)), E])[:lags]
    traces = H.reshape(-1, lags, output, noises).swapaxes(1, 2)
    tangent = G.reshape(lags, output, noises, -1).swapaxes(0, 1)
    return Responses(
        late.swapaxes(0, 1).reshape(output, -1),
        traces.reshape(len(H), output, -1),
        tangent.reshape(output, lags * noises, -1),
    )


def covariance_of(found: Responses) -> np.ndarray:
    """The covariance from the responses."""
    E, H = found.error, found.traces
    across = H @ E.T  # Y, "weights output output"
    weights = len(H)
    own = np.tensordot(H, E @ E.T, axes=(1, 0)).swapaxes(1, 2).reshape(weights, -1) @ H.reshape(weights, -1).T
    return own + across.reshape(weights, -1) @ across.swapaxes(1, 2).reshape(weights, -1).T
