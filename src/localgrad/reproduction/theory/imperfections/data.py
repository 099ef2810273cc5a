r"""What imperfections cost: rates at optima of modes, learning of networks, and the loss that noise leaves.

An imperfection is made of parts that every rule has: a delay, a decay of its own in every unit, a feedback seen through
terms. It is put on each rule, and compared with the same rule without it

- at random optima of modes, where the rate of convergence is known in closed form;
- in networks from Gaussian weights, by exact flows over a learning time;
- for noise in the error, by the excess loss that it leaves around optima of modes.

Feedback weights, fixed or the readout's own, are coarse in units of `UNIT`, the standard deviation of the fixed ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from localgrad.diagnostics.covariance import update_covariance
from localgrad.diagnostics.spread import stationary_spread
from localgrad.learning.flow import learn
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN, random_network
from localgrad.modes.stability import convergence_rate, spectrum
from localgrad.reproduction.axes import rule_axis
from localgrad.rules.coarse import Coarse, Quantized
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.rules.shipped import Mask, SignSymmetric
from localgrad.tasks.linear_task import LinearTask

UNIT = 0.5
LEARNED = 0.01  # of a silent student's loss
_EXACT, _SEEN = 1e-6, 1e-2  # of the largest singular value: what counts as rank at all, and as one that matters


@dataclass(frozen=True)
class Parameters:
    """Random optima of modes; networks that learn from teachers with these poles; noise around optima of modes."""

    num_optima: int = 1000
    imperfections: tuple[str, ...] = (
        "none",
        "1 step late",
        "2 steps late",
        "decays ± 0.1",
        "decays ± 0.2",
        "7 levels",
        "3 levels",
        "signs",
        "half the wires",
        "a quarter",
    )
    teachers: tuple[tuple[float, ...], ...] = ((0.8, 0.5, 0.2), (0.7, 0.3, -0.6))
    seeds: int = 6
    outputs: int = 2
    hidden: int = 12
    inputs: int = 2
    duration: float = 300.0
    transported: bool = (
        True  # whether networks also learn by a readout that is sent back coarse, in programs of its own
    )
    slow: float = 0.7
    slow_delays: tuple[int, ...] = (0, 1, 2, 4)
    noisy_poles: tuple[float, ...] = (0.3, 0.8)
    noisy_places: int = 4
    seed: int = 0


# How an imperfection is put on a rule, for draws δ, uniform in ±1, one a unit, and u, uniform in (0, 1), one a feedback
# weight.
_Made = Callable[[Rule, Any, Any], Rule]


def _late(steps: int, rule: Rule, _: Any, __: Any) -> Rule:
    return rule.with_delay(steps)


def _mismatched(deviation: float, rule: Rule, delta: Any, _: Any) -> Rule:
    own = rule.propagator
    decay = deviation * delta + (0 if own.decay is None else own.decay)
    return Rule(rule.feedback, type(own)(own.full, own.diagonal, decay), rule.lags, name=rule.name, key=rule.key)


def _seen_through(terms: Callable[[Any], tuple[Any, ...]], rule: Rule, _: Any, u: Any) -> Rule:
    feedback, own = rule.feedback, terms(u)
    if feedback.is_random:  # numbers, so that all share a compiled program
        found = jnp.asarray(feedback.fixed)
        for term in own:
            found = term.on_mode(found)
        return rule.with_feedback(np.asarray(found))
    return rule.with_feedback(Coarse(feedback, *own))


IMPERFECTIONS: dict[str, _Made] = {
    "none": lambda rule, _, __: rule,
    "1 step late": partial(_late, 1),
    "2 steps late": partial(_late, 2),
    "decays ± 0.1": partial(_mismatched, 0.1),
    "decays ± 0.2": partial(_mismatched, 0.2),
    "7 levels": partial(_seen_through, lambda u: (Quantized(UNIT / 2, 1.5 * UNIT),)),
    "3 levels": partial(_seen_through, lambda u: (Quantized(UNIT, UNIT),)),
    "signs": partial(_seen_through, lambda u: (SignSymmetric(0.8 * UNIT),)),
    "half the wires": partial(_seen_through, lambda u: (Mask((u < 0.5).astype(float)),)),
    "a quarter": partial(_seen_through, lambda u: (Mask((u < 0.25).astype(float)),)),
}


def rules(feedback: Any) -> list[Rule]:
    """The rules compared, the last two with this fixed feedback."""
    return [BPTT(), TruncatedBPTT(1), EProp(feedback), RFLO(feedback, 0.5)]


def compute(p: Parameters) -> xr.Dataset:
    """Rates of modes, what networks learn, how slow units bear late errors, and what noise costs."""
    data = xr.merge([_modes(p), _networks(p), _slow_units(p), _noise(p)])
    return data.assign_coords(rule_axis(rules(1.0))).assign_attrs(outputs=p.outputs)


# --- modes -----------------------------------------------------------------------------------------------------------


def _optima(count: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Places `s > 0` of optima, and fixed feedbacks of their sign."""
    s, feedback = UNIT * np.abs(rng.standard_normal((2, count)))
    return s + 0.1, feedback


def _modes(p: Parameters) -> xr.Dataset:
    rng = np.random.default_rng(p.seed)
    s, feedback = _optima(p.num_optima, rng)
    w_star = rng.uniform(0.1, 0.9, p.num_optima)
    delta, u = rng.uniform(-1, 1, p.num_optima), rng.uniform(size=p.num_optima)
    teacher = Mode(1.0, 1.0, w_star)
    rates = [
        [convergence_rate(IMPERFECTIONS[name](rule, delta, u), teacher, s) for name in p.imperfections]
        for rule in rules(feedback)
    ]
    cut = spectrum(RFLO(0.0, 0.5), teacher, s)[..., 1].real
    return xr.Dataset(
        {"rate": (("rule", "imperfection", "optimum"), rates), "cut_rate": ("optimum", cut)},
        {"imperfection": list(p.imperfections)},
    )


# --- networks --------------------------------------------------------------------------------------------------------


def _teacher(p: Parameters, poles: tuple[float, ...], rng: Any) -> LinearRNN:
    A, B = rng.standard_normal((p.outputs, len(poles))), rng.standard_normal((len(poles), p.inputs))
    return LinearRNN(A / len(poles) ** 0.5, np.diag(poles), B / p.inputs**0.5)


def _problem(p: Parameters) -> tuple[list[LinearRNN], LinearRNN, np.ndarray, Any]:
    rng = np.random.default_rng(p.seed)
    teachers = [_teacher(p, poles, rng) for poles in p.teachers]
    keys = jax.random.split(jax.random.key(p.seed), p.seeds)
    students = random_network(p.outputs, p.hidden, p.inputs, key=keys, scale=0.3)
    return teachers, students, UNIT * rng.standard_normal((p.seeds, p.outputs, p.hidden)), rng


def _networks(p: Parameters) -> xr.Dataset:
    teachers, students, R, rng = _problem(p)
    delta, u = rng.uniform(-1, 1, p.hidden), rng.uniform(size=R.shape)
    shape = (len(rules(R)), len(p.imperfections), len(teachers), p.seeds)
    found = {name: np.full(shape, np.nan) for name in ("learned_after", "rank", "rank_seen", "loss_left")}
    found["learned"] = np.zeros(shape, bool)
    for i, rule in enumerate(rules(R)):
        for j, name in enumerate(p.imperfections):
            imperfect = IMPERFECTIONS[name](rule, delta, u)
            if imperfect.terms and not p.transported:
                continue
            for k, teacher in enumerate(teachers):
                for key, values in _learned(imperfect, students, teacher, p.duration).items():
                    found[key][i, j, k] = values
    dims = ("rule", "imperfection", "teacher", "seed")
    return xr.Dataset({name: (dims, x) for name, x in found.items()}, {"imperfection": list(p.imperfections)})


def _learned(rule: Rule, students: LinearRNN, teacher: LinearRNN, duration: float) -> dict[str, np.ndarray]:
    curve = learn(rule, students, teacher, duration=duration)
    loss, time = np.asarray(curve.loss / curve.silent_loss), np.broadcast_to(curve.time, np.shape(curve.loss))
    below = loss < LEARNED
    first = np.take_along_axis(time, below.argmax(axis=1)[:, None], axis=1)[:, 0]
    sigma = np.linalg.svd(np.asarray(curve.final.W) - np.asarray(students.W), compute_uv=False)
    ranks = [(sigma > share * sigma[:, :1]).sum(axis=1) for share in (_EXACT, _SEEN)]
    return {
        "learned": below[:, -1],
        "learned_after": np.where(below[:, -1], first, np.inf),
        "rank": ranks[0],
        "rank_seen": ranks[1],
        "loss_left": np.minimum(loss[:, -1], 1e3),
    }


def _slow_units(p: Parameters) -> xr.Dataset:
    """BPTT with late errors, from Gaussian weights and from units that keep most of their state."""
    teachers, gaussian, _, _ = _problem(p)
    slow = LinearRNN(gaussian.A, gaussian.W / 2 + p.slow * np.eye(p.hidden), gaussian.B)
    share = [
        [_share_learned(BPTT().with_delay(delay), start, teachers[0], p.duration) for delay in p.slow_delays]
        for start in (gaussian, slow)
    ]
    return xr.Dataset(
        {"slow_share": (("start", "delay"), share)}, {"start": ["gaussian", "slow"], "delay": list(p.slow_delays)}
    )


def _share_learned(rule: Rule, start: LinearRNN, teacher: LinearRNN, duration: float) -> float:
    return float(np.mean(_learned(rule, start, teacher, duration)["learned"]))


# --- noise -----------------------------------------------------------------------------------------------------------


def _noise(p: Parameters) -> xr.Dataset:
    """Excess losses of modes at 1/100 of BPTT's critical learning rate, with noise of unit variance in the error."""
    w_star = np.repeat(p.noisy_poles, p.noisy_places)
    s, feedback = _optima(len(w_star), np.random.default_rng(p.seed))
    excess, rate = np.empty((2, len(rules(1.0)), len(w_star)))
    predicted, late = np.empty(len(w_star)), []
    for k in range(len(w_star)):
        optimum = Mode(s[k], 1 / s[k], w_star[k])
        network = LinearRNN(*([[x]] for x in (optimum.a, optimum.w, optimum.b)))
        task = LinearTask.of_teacher(network).with_error_noise(1.0)
        rates = -spectrum(BPTT(), optimum, s[k])[1:].real
        step = 0.02 / rates.max()
        predicted[k] = np.sum(step * rates / (2 - step * rates)) / 2
        for i, rule in enumerate(rules(feedback[k])):
            excess[i, k] = stationary_spread(rule, optimum, task, learning_rate=step).excess_loss
            rate[i, k] = convergence_rate(rule, optimum, s[k])
        C, C_late = (update_covariance(RFLO(feedback[k], 0.5).with_delay(d), optimum, task) for d in (0, 3))
        late.append(np.abs(C_late - C).max() / np.abs(C).max())
    return xr.Dataset(
        {
            "excess": (("rule", "noisy_optimum"), excess),
            "noisy_rate": (("rule", "noisy_optimum"), rate),
            "predicted_excess": ("noisy_optimum", predicted),
            "late_covariance": ("noisy_optimum", late),
        }
    )
