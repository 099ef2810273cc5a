"""Brute-force references, written from docs/theory.md alone: nothing here imports localgrad.

Five ways to a rule's update that share no formula with the library:

- `brute_force_update`: the lag-by-lag sums of section 3, with loops and `matrix_power`;
- `sampled_updates`: white-noise sequences, and the update each recorded sequence brings (section 9, "Sampling");
- `impulse_autodiff`: reverse-mode differentiation *through time* of a surrogate whose forward pass is the
  network's and whose backward pass is the rule's. The loss is quadratic in the noise, so its expectation is the
  plain sum over all sequences that hold a single 1: exact, without sampling;
- `finite_differences` of `brute_force_loss`: the gradient, so BPTT's update;
- `mode_sums`: section 5 as truncated sums over Markov parameters.

A network is a tuple of NumPy arrays `(A, W, B)`; a rule is `F` (output × hidden), a dense `M` (hidden × hidden)
and `lags` (`None` for all).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.linalg import matrix_power
from scipy.linalg import solve_discrete_lyapunov

Network = tuple[np.ndarray, np.ndarray, np.ndarray]

# Spectral radii in the tests are at most 0.7, and 0.7^(2·60) < 1e-18: the rest of the sum is below rounding.
LONG = 60


def markov_errors(student: Network, teacher: Network, count: int) -> list[np.ndarray]:
    (A, W, B), (A_star, W_star, B_star) = student, teacher
    return [A @ matrix_power(W, j) @ B - A_star @ matrix_power(W_star, j) @ B_star for j in range(count)]


def brute_force_loss(student: Network, teacher: Network, horizon: int = LONG, loss: str = "final") -> float:
    if loss == "sequence":
        return float(np.mean([brute_force_loss(student, teacher, t) for t in range(1, horizon + 1)]))
    return 0.5 * sum(float(np.sum(E**2)) for E in markov_errors(student, teacher, horizon))


def brute_force_update(
    F: np.ndarray,
    M: np.ndarray,
    lags: int | None,
    student: Network,
    teacher: Network,
    horizon: int = LONG,
    loss: str = "final",
) -> Network:
    """Section 3, sum by sum; the sequence loss as the mean of the final-step updates with horizons 1 … T."""
    if loss == "sequence":
        steps = [brute_force_update(F, M, lags, student, teacher, t) for t in range(1, horizon + 1)]
        return tuple(np.mean(parts, axis=0) for parts in zip(*steps, strict=True))
    return update_of_errors(F, M, lags, student, markov_errors(student, teacher, horizon))


def update_of_errors(F: np.ndarray, M: np.ndarray, lags: int | None, student: Network, E: list[np.ndarray]) -> Network:
    """What a rule makes of any errors, one a lag."""
    A, W, B = student
    horizon = len(E)
    tau = horizon if lags is None else lags
    dA, dW, dB = np.zeros_like(A), np.zeros_like(W), np.zeros_like(B)
    states = [matrix_power(W, i) @ B for i in range(horizon)]
    for j in range(horizon):
        dA += E[j] @ states[j].T
    for j in range(min(tau, horizon)):
        dB += matrix_power(M, j).T @ F.T @ E[j]
    for j in range(min(tau, horizon - 1)):
        C = sum(E[i + j + 1] @ states[i].T for i in range(horizon - 1 - j))
        dW += matrix_power(M, j).T @ F.T @ C
    return dA, dW, dB


def brute_force_kernel(F: np.ndarray, M: np.ndarray, lags: int | None, student: Network, horizon: int) -> np.ndarray:
    """`K = G H` (theory, section 13), entry by entry: each weight's move of the errors, each error's move of it."""
    A, W, B = student
    powers = [matrix_power(W, k) for k in range(horizon)]
    units = [[np.zeros_like(x) for x in student] for _ in range(sum(x.size for x in student))]
    for place, (which, index) in enumerate((i, at) for i, x in enumerate(student) for at in np.ndindex(x.shape)):
        units[place][which][index] = 1
    G = [
        [dA @ P @ B + sum((A @ powers[i] @ dW @ powers[k - 1 - i] @ B for i in range(k)), A @ P @ dB)
         for k, P in enumerate(powers)]
        for dA, dW, dB in units
    ]  # fmt: skip
    impulses = np.eye(horizon * len(A) * B.shape[1]).reshape(-1, horizon, len(A), B.shape[1])
    H = [np.concatenate([x.ravel() for x in update_of_errors(F, M, lags, student, list(e))]) for e in impulses]
    return np.reshape(G, (len(units), -1)).T @ np.stack(H, axis=1)


def sampled_updates(
    F: np.ndarray,
    M: np.ndarray,
    lags: int | None,
    student: Network,
    teacher: Network,
    horizon: int,
    loss: str,
    *,
    num_sequences: int,
    seed: int,
) -> tuple[Network, Network]:
    """Mean and standard error of the updates of white-noise sequences, each from what it recorded."""
    x = np.random.default_rng(seed).standard_normal((horizon, num_sequences, student[2].shape[1]))
    updates = updates_of_noise(F, M, lags, student, teacher, x, loss)
    mean = tuple(u.mean(axis=0) for u in updates)
    standard_error = tuple(u.std(axis=0, ddof=1) / np.sqrt(num_sequences) for u in updates)
    return mean, standard_error


def updates_of_noise(
    F: np.ndarray,
    M: np.ndarray,
    lags: int | None,
    student: Network,
    teacher: Network,
    x: np.ndarray,
    loss: str,
    delay: int = 0,
) -> Network:
    """The update that each of the sequences `x` (steps × sequences × input) brings, from what it recorded.

    Errors arrive `delay` steps late, the last one at the sequences' end.
    """
    (A, W, B), (A_star, W_star, B_star) = student, teacher
    steps, num_sequences, _ = x.shape
    horizon = steps - delay
    h, h_star = [np.zeros((num_sequences, len(W)))], [np.zeros((num_sequences, len(W_star)))]
    for t in range(steps):
        h.append(h[t] @ W.T + x[t] @ B.T)
        h_star.append(h_star[t] @ W_star.T + x[t] @ B_star.T)
    updates = [np.zeros((num_sequences, *shape.shape)) for shape in student]
    last_steps = [horizon] if loss == "final" else range(1, horizon + 1)
    for t in last_steps:
        error = (h[t] @ A.T - h_star[t] @ A_star.T) / len(last_steps)
        now = t + delay
        updates[0] += error[:, :, None] * h[now][:, None, :]
        credit = error @ F
        for j in range(now if lags is None else min(lags, now)):
            updates[1] += credit[:, :, None] * h[now - 1 - j][:, None, :]
            updates[2] += credit[:, :, None] * x[now - 1 - j][:, None, :]
            credit = credit @ M
    return tuple(updates)


def impulse_autodiff(
    F: np.ndarray, M: np.ndarray, lags: int | None, student: Network, teacher: Network, horizon: int
) -> Network:
    """The update as the gradient of a surrogate run: values of the network, derivatives of the rule.

    Values pass through `W` and `A`, derivatives through `M` and `F`; the weights are constants more than `lags`
    steps before the end.
    """
    inputs = student[2].shape[1]
    impulses = np.eye(horizon * inputs).reshape(horizon * inputs, horizon, inputs)
    stop = jax.lax.stop_gradient

    def surrogate(A: jax.Array, W: jax.Array, B: jax.Array) -> jax.Array:
        h = jnp.zeros((len(impulses), len(W)))
        h_star = np.zeros((len(impulses), len(teacher[1])))
        for t in range(horizon):
            live = lags is None or t >= horizon - lags
            W_t, B_t = (W, B) if live else (stop(W), stop(B))
            x = impulses[:, t]
            h = stop(h) @ W_t.T + (h - stop(h)) @ M.T + x @ B_t.T
            h_star = h_star @ teacher[1].T + x @ teacher[2].T
        y = stop(h) @ A.T + (h - stop(h)) @ F.T
        return 0.5 * jnp.sum((y - h_star @ teacher[0].T) ** 2)

    return tuple(np.asarray(g) for g in jax.grad(surrogate, argnums=(0, 1, 2))(*student))


def finite_differences(function: Callable[[Network], float], network: Network, step: float = 1e-5) -> Network:
    """Central differences, entry by entry; error about `step²` plus rounding over `step`."""
    gradients = []
    for position, matrix in enumerate(network):
        gradient = np.zeros_like(matrix)
        for index in np.ndindex(matrix.shape):
            values = []
            for sign in (1, -1):
                moved = [x.copy() for x in network]
                moved[position][index] += sign * step
                values.append(function(tuple(moved)))
            gradient[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return tuple(gradients)


def mode_sums(
    f: float,
    m: float,
    lags: int | None,
    student: tuple[float, float, float],
    teacher: tuple[float, float, float],
    count: int = 400,
) -> tuple[tuple[float, float, float], float]:
    """`(Δa, Δb, Δw)` and the loss of a mode, summed over `count` Markov parameters `a b w^j − a* b* w*^j`.

    For `|w| ≤ 0.9` the terms left out are below `0.9^400 ≈ 5e-19`.
    """
    (a, b, w), (a_star, b_star, w_star) = student, teacher
    j = np.arange(count)
    E = a * b * w**j - a_star * b_star * w_star**j
    kept = j < (count if lags is None else lags)
    credit = np.where(kept, np.power(float(m), j), 0.0)
    C = np.array([np.sum(E[k + 1 :] * b * w ** j[: count - 1 - k]) for k in range(count)])
    update = float(np.sum(E * b * w**j)), float(f * np.sum(credit * E)), float(f * np.sum(credit * C))
    return update, 0.5 * float(np.sum(E**2))


# --- any linear task -------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """`s' = D s + N ξ + K y`, `x = X s + X0 ξ`, `y* = Y s`, noise `Nh ξ` on the student's state; all dense."""

    D: np.ndarray
    N: np.ndarray
    X: np.ndarray
    X0: np.ndarray
    Y: np.ndarray
    K: np.ndarray
    Nh: np.ndarray


class Record(NamedTuple):
    """A run from rest, step by step: errors `ε_t`, states `h_t` and inputs `x_t`, each "steps … size"."""

    error: np.ndarray
    h: np.ndarray
    x: np.ndarray
    s: np.ndarray


def run_task(student: Network, task: Task, noise: np.ndarray) -> Record:
    """What happens in `len(noise)` steps from rest; `noise` is `ξ`, "steps … noises"."""
    A, W, B = student
    h, s = np.zeros((*noise.shape[1:-1], len(W))), np.zeros((*noise.shape[1:-1], len(task.D)))
    kept = []
    for xi in noise:
        x, y = s @ task.X.T + xi @ task.X0.T, h @ A.T
        kept.append((y - s @ task.Y.T, h, x, s))
        h, s = h @ W.T + x @ B.T + xi @ task.Nh.T, s @ task.D.T + xi @ task.N.T + y @ task.K.T
    x = s @ task.X.T
    kept.append((h @ A.T - s @ task.Y.T, h, x, s))
    return Record(*(np.stack(parts) for parts in zip(*kept, strict=True)))


def impulse_responses(student: Network, task: Task, steps: int) -> Record:
    """Errors, states and inputs `k` steps after a single 1 in each noise, "steps size noises"."""
    noise = np.zeros((steps, task.N.shape[1], task.N.shape[1]))
    noise[0] = np.eye(task.N.shape[1])
    return Record(*(part[:steps].transpose(0, 2, 1) for part in run_task(student, task, noise)))


# Loops are slower than their parts, at most 0.75; and traces decay by 0.9 times that.
LONG_LOOP = 120


def task_loss(student: Network, task: Task, horizon: int = LONG_LOOP, loss: str = "final") -> float:
    if loss == "sequence":
        return float(np.mean([task_loss(student, task, t) for t in range(1, horizon + 1)]))
    return 0.5 * float(np.sum(impulse_responses(student, task, horizon + 1).error ** 2))


def task_update(
    F: np.ndarray,
    M: np.ndarray,
    lags: int | None,
    student: Network,
    task: Task,
    horizon: int = LONG_LOOP,
    loss: str = "final",
    delay: int = 0,
) -> Network:
    """`Σ_j (M^j)ᵀ Fᵀ E[ε_T u_{T+d−1−j}ᵀ]` for the presynaptic `u = h` and `u = x`, from moments (theory, section 10).

    From rest, a moment is a sum over the steps `m` at which a noise can have struck: of the products of the responses.
    """
    if loss == "sequence":
        steps = [task_update(F, M, lags, student, task, t, delay=delay) for t in range(1, horizon + 1)]
        return tuple(np.mean(parts, axis=0) for parts in zip(*steps, strict=True))
    at = impulse_responses(student, task, horizon + 1 + delay)

    def moment(signal: np.ndarray, later: int) -> np.ndarray:
        """Of the error with a signal so many steps after it (before it, where negative)."""
        return sum(at.error[k] @ signal[k + later].T for k in range(max(0, -later), horizon + 1))

    dA = moment(at.h, delay)
    dW, dB = np.zeros_like(student[1]), np.zeros_like(student[2])
    for j in range(horizon + delay if lags is None else min(lags, horizon + delay)):
        with_h, with_x = moment(at.h, delay - 1 - j), moment(at.x, delay - 1 - j)
        credit = matrix_power(M, j).T @ F.T
        dW, dB = dW + credit @ with_h, dB + credit @ with_x
    return dA, dW, dB


def task_update_through_the_plant(
    F: np.ndarray,
    M: np.ndarray,
    lags: int | None,
    student: Network,
    task: Task,
    horizon: int = LONG_LOOP,
) -> Network:
    """The same where credit also passes the plant: step by step back, from each error to each weight.

    Credit for `h`, `s`, `y` and `x` one step back: `h` through `M` and, as part of `y`, through `F`; `x` through `B`.
    """
    at = impulse_responses(student, task, horizon + 1)
    of_h, of_s = F.T, -task.Y.T  # credit for the state at the time of the error, "state output"
    dA = sum(at.error[k] @ at.h[k].T for k in range(horizon + 1))
    dW, dB = np.zeros_like(student[1]), np.zeros_like(student[2])
    for j in range(horizon if lags is None else min(lags, horizon)):
        moments = [sum(at.error[k + j + 1] @ u[k].T for k in range(horizon - j)) for u in (at.h, at.x)]
        of_y = task.K.T @ of_s  # the output moved the plant a step before
        dA, dW, dB = dA + of_y @ moments[0], dW + of_h @ moments[0], dB + of_h @ moments[1]
        of_x = student[2].T @ of_h
        of_h, of_s = M.T @ of_h + F.T @ of_y, task.D.T @ of_s + task.X.T @ of_x
    return dA, dW, dB


def task_moments(student: Network, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The stationary covariance of `(h, s)` by SciPy's solver of Lyapunov equations, and the joint dynamics."""
    A, W, B = student
    dynamics = np.block([[W, B @ task.X], [task.K @ A, task.D]])
    driven = np.concatenate([B @ task.X0 + task.Nh, task.N])
    return solve_discrete_lyapunov(dynamics, driven @ driven.T), dynamics


def layer_errors(student: Network, teacher: Network, count: int) -> list[np.ndarray]:
    """`Re(C λ^j B)` of a diagonal layer `(C, poles, B)` less that of its teacher, for each lag."""
    (C, poles, B), (C_star, poles_star, B_star) = student, teacher
    return [((C * poles**j) @ B).real - ((C_star * poles_star**j) @ B_star).real for j in range(count)]


def layer_loss(student: Network, teacher: Network, horizon: int, loss: str = "final") -> float:
    if loss == "sequence":
        return float(np.mean([layer_loss(student, teacher, t) for t in range(1, horizon + 1)]))
    return 0.5 * sum(float(np.sum(E**2)) for E in layer_errors(student, teacher, horizon))


def layer_update(
    F: np.ndarray,
    m: np.ndarray,
    lags: int | None,
    student: Network,
    teacher: Network,
    horizon: int,
    loss: str = "final",
) -> Network:
    """Section 11 without its closed forms: what each unit's trace holds, lag by lag, times the credit it gets."""
    if loss == "sequence":
        steps = [layer_update(F, m, lags, student, teacher, t) for t in range(1, horizon + 1)]
        return tuple(np.mean(parts, axis=0) for parts in zip(*steps, strict=True))
    C, poles, B = student
    E = layer_errors(student, teacher, horizon)
    dC, dpoles, dB = np.zeros_like(C), np.zeros_like(poles), np.zeros_like(B)
    for k in range(len(poles)):
        for j in range(horizon):
            dC[:, k] += E[j] @ np.conj(poles[k] ** j * B[k])
            if lags is not None and j >= lags:
                continue
            credit = np.conj(m[k]) ** j * F[:, k].conj()
            dB[k] += credit @ E[j]
            for i in range(horizon - 1 - j):
                dpoles[k] += credit @ E[i + j + 1] @ np.conj(poles[k] ** i * B[k])
    return dC, dpoles, dB


def layer_update_of_noise(
    F: np.ndarray,
    m: np.ndarray,
    lags: int | None,
    student: Network,
    teacher: Network,
    x: np.ndarray,
    loss: str,
    delay: int = 0,
) -> Network:
    """The mean update that the sequences `x` (steps × sequences × input) bring to a layer, from what it recorded.

    Errors arrive `delay` steps late, the last one at the sequences' end.
    """
    (C, poles, B), (C_star, poles_star, B_star) = student, teacher
    steps, num_sequences, _ = x.shape
    horizon = steps - delay
    h, h_star = ([np.zeros((num_sequences, len(z)), complex)] for z in (poles, poles_star))
    for now in x:
        h.append(poles * h[-1] + now @ B.T)
        h_star.append(poles_star * h_star[-1] + now @ B_star.T)
    dC, dpoles, dB = np.zeros_like(C), np.zeros_like(poles), np.zeros_like(B)
    last_steps = [horizon] if loss == "final" else range(1, horizon + 1)
    for t in last_steps:
        error = np.real(h[t] @ C.T - h_star[t] @ C_star.T) / (len(last_steps) * num_sequences)
        now = t + delay
        dC += error.T @ h[now].conj()
        credit = error @ F.conj()
        for j in range(now if lags is None else min(lags, now)):
            dpoles += np.sum(credit * h[now - 1 - j].conj(), axis=0)
            dB += credit.T @ x[now - 1 - j]
            credit = credit * np.conj(m)
    return dC, dpoles, dB
