r"""The update of one batch of noisy sequences, under any rule, in three ways that agree to rounding.

With `N` sequences of the task's noise `ξ` and the errors `ε_t = y_t − y*_t` that they cause, let

    Ê_k = ⟨ε_T ξ_{T−1−k}ᵀ⟩   (final-step loss),   Ê_k = (1/T) Σ_t ⟨ε_t ξ_{t−1−k}ᵀ⟩   (sequence loss)

be the correlations of error and noise at lag `k`, averaged over the batch. Since states and inputs are linear in the
noise, *the sampled update of every rule is the formula of its expected update (`lags.py`) with `Ê_k` in place of*
`Ẽ_k`. And `ε_t = Σ_k E_k ξ_{t−1−k}` is the noise convolved with the responses `E_k` of the error: nothing is simulated.

- `correlation`: just this. Final-step loss: `O(T N · noise · output)` beside the cost of an exact update, whatever the
    batch. Sequence loss: the convolution and the correlation by FFT.
- `recorded`: runs student and task, records the states, and goes back: `λ_{t−1} = Mᵀ λ_t + Fᵀ ε_{t−1}`.
- `online`: forward in time with eligibility traces, in memory that does not depend on `T`. With a scalar `M` a trace a
    unit, `p_t = m p_{t−1} + h_{t−1}`; with a diagonal one a trace a weight; with one lag the trace is `h_{t−1}`. A
    dense `M` would need a matrix a weight, and is refused, as is credit through a plant.

An error `d` steps late meets the traces of then: its correlation with the noise moves by `d` lags, its place
in the recording by `d` steps, and online it waits. Network and task run on until the last has arrived.

All draw `ξ_t` from the key folded with `t`, one step at a time, hence the same noise.

Source: docs/theory.md, sections 9 (sampling) and 10.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.fft import next_fast_len

from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.lags import BLOCK, Lags, backward_pass, forward_pass
from localgrad.updates.stein import times
from localgrad.updates.system import credit_of, error_system, passes_plant, update_of


class Noise(NamedTuple):
    """The noise of a batch, `ξ_t ~ N(0, I)`, each step from a key of its own; errors are those of `horizon` steps."""

    key: PRNGKeyArray
    horizon: int
    batch_size: int

    def at(self, t: Array, task: LinearTask) -> Float[Array, "batch noise"]:
        """`ξ_t`, for a task's number of noises and in its precision."""
        return jax.random.normal(jax.random.fold_in(self.key, t), (self.batch_size, task.num_noises), task.noise.dtype)

    def all(self, task: LinearTask, delay: int = 0) -> Float[Array, "steps batch noise"]:
        """All steps, until the last error has arrived."""
        return jax.vmap(lambda t: self.at(t, task))(jnp.arange(self.horizon + delay))


Sampled = tuple[Any, Float[Array, ""]]
"""The update of a batch, of the student's kind, and its loss: `½⟨‖ε_T‖²⟩` or the mean of `½⟨‖ε_t‖²⟩` over the steps."""


def _lags_within(rule: Rule, horizon: int) -> int | None:
    """The lags kept, or `None` where that is all there are."""
    return None if rule.lags is None or rule.lags >= horizon else rule.lags


# --- by correlation --------------------------------------------------------------------------------------------------


def correlation_update(rule: Rule, student: LinearRNN, task: LinearTask, noise: Noise, loss: str) -> Sampled:
    """The update from the correlations `Ê_k` of error and noise."""
    T, steps = noise.horizon, noise.horizon + rule.delay
    num_blocks = -(-steps // BLOCK)
    within = (np.arange(num_blocks * BLOCK) < T).astype(student.W.dtype).reshape(num_blocks, BLOCK)
    system = error_system(student, task)
    forward = forward_pass(system, credit_of(rule, student, task), Lags(within, num_blocks))
    E = late(forward.errors.reshape(-1, *forward.errors.shape[2:])[:T], rule.delay)
    correlations, value = correlate(E, noise.all(task, rule.delay), loss, T)
    padded = jnp.pad(correlations, ((0, num_blocks * BLOCK - steps), (0, 0), (0, 0))).reshape(forward.errors.shape)
    return update_of(backward_pass(system, padded, forward.credits, rule.lags, num_blocks), student, task), value


def late(x: Array, delay: int) -> Array:
    """What comes so many lags or steps later, after zeros."""
    return jnp.concatenate([jnp.zeros((delay, *x.shape[1:]), x.dtype), x]) if delay else x


def correlate(E: Array, x: Array, loss: str, num_errors: int) -> tuple[Array, Array]:
    """`Ê_k` and the loss from the error's responses `E_k` and the noise, for so many errors of a sequence."""
    return _correlate_final(E, x) if loss == "final" else _correlate_sequence(E, x, num_errors)


def _correlate_final(E: Float[Array, "lags output noise"], x: Float[Array, "lags batch noise"]) -> tuple[Array, Array]:
    """`Ê_k` and the loss from `E_k` and the noise."""
    by_lag = x[::-1]
    errors = jnp.einsum("kni,koi->no", by_lag, E)
    return jnp.einsum("no,kni->koi", errors, by_lag) / len(errors), jnp.sum(errors**2) / (2 * len(errors))


def _correlate_sequence(
    E: Float[Array, "lags output noise"], x: Float[Array, "steps batch noise"], num_errors: int
) -> tuple[Array, Array]:
    """`Ê_k` and the loss, by FFT; padded to twice the length, so that no lag wraps around."""
    steps, N, _ = x.shape
    length = next_fast_len(2 * steps - 1, real=True)
    spectrum = jnp.fft.rfft(x.transpose(1, 2, 0), length)  # "batch noise frequency"
    response = jnp.fft.rfft(E.transpose(1, 2, 0), length)
    errors = jnp.fft.irfft(jnp.einsum("oif,nif->nof", response, spectrum), length)[..., :steps]
    crossed = jnp.einsum("nof,nif->oif", jnp.fft.rfft(errors, length), spectrum.conj())
    correlations = jnp.fft.irfft(crossed, length)[..., :steps].transpose(2, 0, 1)
    return correlations / (num_errors * N), jnp.sum(errors**2) / (2 * num_errors * N)


# --- backwards through a recording -----------------------------------------------------------------------------------


def recorded_update(rule: Rule, student: LinearRNN, task: LinearTask, noise: Noise, loss: str) -> Sampled:
    """The update from a recorded run, backwards through it."""
    T, hidden = noise.horizon, len(student.W)
    h, x, errors = _record(student, task, noise.all(task, rule.delay))
    errors = errors[:T]
    if loss == "final":
        errors = jnp.concatenate([jnp.zeros_like(errors[:-1]), errors[-1:]])
    weight = 1 / (noise.batch_size * (1 if loss == "final" else T))
    errors = late(errors, rule.delay)
    F, M, _ = credit_of(rule, student, task)
    credit = _carry_back(errors @ F, M, _lags_within(rule, len(errors)))

    def correlated(post: Array, pre: Array) -> Array:
        return weight * jnp.einsum("tna,tnb->ab", post, pre)

    own = credit[..., :hidden]
    dA, dW, dB = correlated(errors, h[1:]), correlated(own, h[:-1]), correlated(own, x)
    if passes_plant(rule, task):
        dA = dA + correlated(credit[..., hidden:] @ task.effect, h[:-1])
    return LinearRNN(dA, dW, dB), weight * jnp.sum(errors**2) / 2


def _record(
    student: LinearRNN, task: LinearTask, noise: Float[Array, "steps batch noise"]
) -> tuple[Float[Array, "times batch hidden"], Float[Array, "steps batch input"], Float[Array, "steps batch output"]]:
    """The states `h_0 = 0, …, h_T`, the inputs `x_0, …, x_{T−1}` and the errors of steps `1 … T`."""

    def step(state: _State, xi: Array) -> tuple[_State, tuple[Array, Array, Array]]:
        state, x = _moved(student, task, state, xi)
        return state, (state.h, x, _error(student, task, state))

    _, (h, x, errors) = jax.lax.scan(step, _State.at_rest(student, task, noise.shape[1]), noise)
    return jnp.concatenate([jnp.zeros_like(h[:1]), h]), x, errors


def _carry_back(injected: Float[Array, "steps batch hidden"], M: Array, lags: int | None) -> Array:
    """`λ_t = Σ_{j<lags} (M^j)ᵀ Fᵀ ε_{t+j}` from the injected `Fᵀ ε_t`.

    All lags: one sweep back. A few: from one lag to the next, `λ_t ← Fᵀ ε_t + Mᵀ λ_{t+1}` at all steps together; a
    sweep that subtracts what is too old would be as exact on paper, but not in rounding where `M` is large.
    """
    if lags is None:

        def step(later: Array, now: Array) -> tuple[Array, Array]:
            carried = now + times(later, M)
            return carried, carried

        return jax.lax.scan(step, jnp.zeros_like(injected[0]), injected, reverse=True)[1]

    def one_lag_more(_: Array, carried: Array) -> Array:
        later = jnp.concatenate([carried[1:], jnp.zeros_like(carried[:1])])
        return injected + times(later, M)

    return jax.lax.fori_loop(1, lags, one_lag_more, injected)


# --- online ----------------------------------------------------------------------------------------------------------


class _Online(NamedTuple):
    """What an online learner carries from step to step; nothing of it grows with the horizon."""

    at: "_State"
    trace_h: Array  # "batch hidden" for a scalar M, "batch hidden hidden" for a diagonal one
    trace_x: Array
    waiting: Array  # errors that have not arrived yet, the oldest first, "delay batch output"
    total: LinearRNN
    loss: Array


def online_update(rule: Rule, student: LinearRNN, task: LinearTask, noise: Noise, loss: str) -> Sampled:
    """The update from eligibility traces, forward in time."""
    steps = noise.horizon + rule.delay
    check_online(rule, task, steps)
    F, M = rule.feedback(student.A), _trace_decay(rule, student, steps)
    num_learning = 1 if loss == "final" else noise.horizon

    def move(t: Array, state: _Online) -> _Online:
        at, x = _moved(student, task, state.at, noise.at(t, task))
        trace_h, trace_x = M * state.trace_h + _row(state.at.h, M), M * state.trace_x + _row(x, M)
        return state._replace(at=at, trace_h=trace_h, trace_x=trace_x)

    def learn(t: Array, state: _Online) -> _Online:
        error = jnp.where(t < noise.horizon, _error(student, task, state.at), 0)
        queue = jnp.concatenate([state.waiting, error[None]])
        arrived, credit = queue[0], queue[0] @ F
        update = LinearRNN(arrived.mT @ state.at.h, _credited(credit, state.trace_h), _credited(credit, state.trace_x))
        total = jax.tree.map(jnp.add, state.total, update)
        return state._replace(waiting=queue[1:], total=total, loss=state.loss + jnp.sum(error**2) / 2)

    unlearned = noise.horizon - num_learning
    state = jax.lax.fori_loop(0, unlearned, move, _untaught(rule, student, task, noise.batch_size, M))
    state = jax.lax.fori_loop(unlearned, steps, lambda t, s: learn(t, move(t, s)), state)
    return jax.tree.map(lambda sum_: sum_ / (noise.batch_size * num_learning), (state.total, state.loss))


def _trace_decay(rule: Rule, student: LinearRNN, steps: int) -> Array:
    """What a trace is multiplied by each step: shape `"1 1"` for a trace a unit, `"hidden 1"` for one a weight."""
    if _lags_within(rule, steps) == 1 or steps == 1:
        return jnp.zeros((1, 1), student.W.dtype)  # no second lag: whatever M is, nothing is carried
    return rule.propagator(student.W)


def check_online(rule: Rule, task: LinearTask, steps: int) -> None:
    """`ValueError` where a rule has no eligibility trace of a number a unit or a weight, in a run of so many steps."""
    check_trace(rule, task, steps)
    if not (rule.propagator.is_elementwise or rule.lags == 1 or steps == 1):
        raise ValueError(
            f"rule {rule.name!r} carries credit by a dense matrix, which no eligibility trace holds; "
            "use method 'correlation' or 'recorded'"
        )


def check_trace(rule: Rule, task: LinearTask, steps: int) -> None:
    """`ValueError` where a rule has no eligibility trace, whatever the form of its propagator."""
    if passes_plant(rule, task):
        raise ValueError(
            f"rule {rule.name!r} carries credit through the plant, which no eligibility trace does; "
            "use method 'correlation' or 'recorded'"
        )
    lags = _lags_within(rule, steps)
    if lags == 1 or steps == 1:
        return
    if lags is not None:
        raise ValueError(f"a trace that ends after {lags} lags is not online; use method 'correlation' or 'recorded'")


def _untaught(rule: Rule, student: LinearRNN, task: LinearTask, batch_size: int, M: Array) -> _Online:
    (output, hidden, input), dtype = student.sizes, student.W.dtype
    rows = (batch_size,) if M.shape == (1, 1) else (batch_size, hidden)
    return _Online(
        at=_State.at_rest(student, task, batch_size),
        trace_h=jnp.zeros((*rows, hidden), dtype),
        trace_x=jnp.zeros((*rows, input), dtype),
        waiting=jnp.zeros((rule.delay, batch_size, output), dtype),
        total=jax.tree.map(jnp.zeros_like, student),
        loss=jnp.zeros((), dtype),
    )


def _row(presynaptic: Float[Array, "batch pre"], M: Array) -> Array:
    """The activity that enters a trace: as it is for a trace a unit, for every postsynaptic unit if one a weight."""
    return presynaptic if M.shape == (1, 1) else presynaptic[:, None, :]


def _credited(credit: Float[Array, "batch post"], trace: Array) -> Float[Array, "post pre"]:
    return credit.mT @ trace if trace.ndim == 2 else jnp.einsum("na,nab->ab", credit, trace)


# --- student and task, step by step ----------------------------------------------------------------------------------


class _State(NamedTuple):
    """Of the student and of the task, a row a sequence."""

    h: Array
    s: Array

    @classmethod
    def at_rest(cls, student: LinearRNN, task: LinearTask, batch_size: int) -> "_State":
        sizes = len(student.W), len(task.dynamics)
        return cls(*(jnp.zeros((batch_size, size), student.W.dtype) for size in sizes))


def _moved(student: LinearRNN, task: LinearTask, state: _State, noise: Array) -> tuple[_State, Array]:
    """The next state, and the input that the student heard."""
    x = task.heard(state.s, noise)
    h = state.h @ student.W.mT + x @ student.B.mT
    if task.student_noise is not None:
        h = h + noise @ task.student_noise.mT
    output = state.h @ student.A.mT if task.is_closed_loop else state.h[:, :0]
    return _State(h, task.moved(state.s, noise, output)), x


def _error(student: LinearRNN, task: LinearTask, state: _State) -> Array:
    return state.h @ student.A.mT - state.s @ task.to_target.mT


METHODS: dict[str, Callable[[Rule, LinearRNN, LinearTask, Noise, str], Sampled]] = {
    "correlation": correlation_update,
    "recorded": recorded_update,
    "online": online_update,
}
