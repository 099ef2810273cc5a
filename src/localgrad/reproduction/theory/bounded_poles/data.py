"""Do poles that cannot leave the unit disc keep learning from diverging, and what does it end in instead?

Random teachers `c`, `w*`, feedbacks `â` of both signs, decays `ŵ` and starts; the same for direct, tanh and LRU poles.
RFLO, e-prop with random feedback (of a mode the same as feedback alignment: both have `m = w`), and BPTT. `w` and `w*`
are positive, so that LRU poles can have them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.models.poles import POLES
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.modes.equations import mode_loss
from localgrad.modes.stability import spectrum
from localgrad.modes.trajectory import learn_mode
from localgrad.outcomes import Outcome
from localgrad.rules.presets import BPTT, RFLO, EProp, FeedbackAlignment

ENDS = ("converged", "stalled", "diverged", "at the edge", "elsewhere")
EDGE = 1e-4
_FEW = 2000  # starts for what is exact in theory
RULES = (RFLO(1.0, 0.5), EProp(1.0), BPTT())
"""The rules, of which only keys and names count here."""


@dataclass(frozen=True)
class Parameters:
    """Trajectories of RFLO for each kind of poles, of each other rule, their learning time, and the round's."""

    num_rflo: int = 1_000_000
    num_others: int = 200_000
    duration: float = 5000.0
    num_optima: int = 20_000
    round_duration: float = 150.0
    seed: int = 0


def _problems(p: Parameters) -> tuple[dict[str, np.ndarray], Mode, Mode]:
    """The rule's numbers, the starts and the teachers, all of shape `"problem"`."""
    rng, count = np.random.default_rng(p.seed), p.num_rflo
    c, feedback = rng.choice([-1, 1], (2, count)) * np.exp(rng.uniform(np.log(0.3), np.log(3), (2, count)))
    a, b = rng.uniform(-3, 3, (2, count))
    decay = rng.uniform(-0.95, 0.95, count)
    w, w_star = rng.uniform(0.05, 0.9, (2, count))
    return {"feedback": feedback, "decay": decay}, Mode(a, b, w), Mode(c, 1.0, w_star)


def _rules(numbers: dict[str, np.ndarray], p: Parameters) -> dict[str, tuple[Any, int]]:
    """Each rule with its numbers, and how many of the problems it is given."""
    few = min(p.num_others, p.num_rflo)
    rflo, eprop, bptt = RFLO(numbers["feedback"], numbers["decay"]), EProp(numbers["feedback"][:few]), BPTT()
    return {rflo.key: (rflo, p.num_rflo), eprop.key: (eprop, few), bptt.key: (bptt, few)}


def _ends(run: Ensemble, poles: str) -> np.ndarray:
    """Index into `ENDS`: unfinished ones are at the edge if `w` is next to an end of the poles' range."""
    known = np.choose(run.outcome, [0, 1, 2, 4])
    gap = np.minimum(POLES[poles].high - run.final.w, run.final.w - POLES[poles].low)
    return np.where((known == 4) & (gap < EDGE), 3, known)


def compute(p: Parameters) -> xr.Dataset:
    """Shares of ends by rule, poles and decay; lengths and times; the theory's factor; one trajectory that turns."""
    numbers, start, teacher = _problems(p)
    rules, poles = _rules(numbers, p), list(POLES)
    bins = np.linspace(-0.95, 0.95, 20)
    place = np.digitize(numbers["decay"], bins[1:-1])
    share = np.zeros((len(rules), len(poles), len(ENDS)))
    by_decay = np.zeros((len(poles), len(bins) - 1, len(ENDS)))
    quantiles, ratios = (0.1, 0.5, 0.9), np.full((2, len(rules), len(poles), 3), np.nan)
    outward = np.full(len(poles), np.nan)
    for j, kind in enumerate(poles):
        runs = {}
        for i, (key, (rule, count)) in reversed(list(enumerate(rules.items()))):
            first = Mode(*(x[:count] for x in start)), Mode(teacher.a[:count], teacher.b, teacher.w[:count])
            run = runs[key] = integrate_modes(rule, *first, duration=p.duration, rtol=1e-5, poles=kind)
            ends = _ends(run, kind)
            share[i, j] = [(ends == end).mean() for end in range(len(ENDS))]
            ratios[:, i, j] = _against(run, runs[BPTT().key], quantiles)
            if key == EProp(1.0).key and (ends == 3).any():
                product = numbers["feedback"][:count] * teacher.a[:count] * run.final.b
                outward[j] = (product[ends == 3] < 0).mean()
        by_decay[j] = [[(ends[place == k] == end).mean() for end in range(len(ENDS))] for k in range(len(bins) - 1)]
    minors, border = _linear_theory(p)
    time, loss, a, w, silent = _round(p)
    return xr.Dataset(
        {
            "share": (("rule", "poles", "end"), share),
            "by_decay": (("poles", "decay", "end"), by_decay),
            "path_ratio": (("rule", "poles", "quantile"), ratios[0]),
            "time_ratio": (("rule", "poles", "quantile"), ratios[1]),
            "outward": ("poles", outward),
            "minors": ("poles", minors),
            "border": ("poles", border),
            "alignment": ("poles", [_differ(numbers, start, teacher, kind, p) for kind in poles]),
            "silent_loss": silent,
            "loss": ("time", loss),
            "a": ("time", a),
            "w": ("time", w),
        },
        {
            "rule": list(rules),
            "poles": poles,
            "end": list(ENDS),
            "quantile": list(quantiles),
            "decay": (bins[:-1] + bins[1:]) / 2,
            "time": time,
        },
    )


def _against(run: Ensemble, bptt: Ensemble, quantiles: tuple[float, ...]) -> list[np.ndarray]:
    """Quantiles of path length and learning time over BPTT's from the same start, where both converge and move."""
    count = len(bptt.outcome)
    both = (run.outcome[:count] == Outcome.CONVERGED) & (bptt.outcome == Outcome.CONVERGED) & (bptt.time > 0)
    pairs = ((run.path_length, bptt.path_length), (run.time, bptt.time))
    return [np.quantile(x[:count][both] / y[both], quantiles) for x, y in pairs]


def _differ(numbers: dict[str, np.ndarray], start: Mode, teacher: Mode, poles: str, p: Parameters) -> float:
    """The share of starts from which feedback alignment ends elsewhere than e-prop with the same feedback."""
    some = slice(0, _FEW)
    problem = Mode(*(x[some] for x in start)), Mode(teacher.a[some], teacher.b, teacher.w[some])
    feedback = numbers["feedback"][some]
    runs = [
        integrate_modes(rule, *problem, duration=p.duration, rtol=1e-5, poles=poles)
        for rule in (FeedbackAlignment(feedback), EProp(feedback))
    ]
    return float(np.mean(_ends(runs[0], poles) != _ends(runs[1], poles)))


def _linear_theory(p: Parameters) -> tuple[list[float], list[float]]:
    """By poles: how far the product of the eigenvalues is from `ρ` times the direct one; how often its sign differs."""
    rng, count = np.random.default_rng(p.seed + 1), p.num_optima
    c, feedback, s = rng.choice([-1, 1], (3, count)) * np.exp(rng.uniform(np.log(0.3), np.log(3), (3, count)))
    rule, teacher = RFLO(feedback, rng.uniform(-0.95, 0.95, count)), Mode(c, 1.0, rng.uniform(0.05, 0.9, count))
    products = [np.prod(spectrum(rule, teacher, s, poles=kind)[:, 1:], axis=-1).real for kind in POLES]
    factors = [kind.speed(teacher.w) for kind in POLES.values()]
    minors = [np.max(np.abs(x / (f * products[0]) - 1)) for x, f in zip(products, factors, strict=True)]
    saddle = c**2 < np.abs(feedback * s**3)  # of those with âs < 0 the ones beyond the border are none
    return minors, [np.mean((x < 0) != ((feedback * s < 0) & ~saddle)) for x in products]


def _round(p: Parameters) -> tuple[np.ndarray, ...]:
    """The last of a way of RFLO with tanh poles that goes round: found by chance, its numbers rounded."""
    rule, start, teacher = RFLO(-2.62, -0.78), Mode(1.95, 1.317, 0.854), Mode(1.47, 1.0, 0.8957)
    path = learn_mode(
        rule, start, teacher, duration=p.round_duration, rtol=1e-6, atol=1e-8, max_steps=100_000, poles="tanh"
    ).at(np.linspace(p.round_duration - 15, p.round_duration, 6001))
    return path.time, path.loss, path.modes.a, path.modes.w, mode_loss(Mode(0.0, 0.0, 0.0), teacher)
