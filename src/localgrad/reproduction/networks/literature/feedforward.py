r"""The feedforward limit (Saxe et al. 2014): modes without memory learn along sigmoids.

Where teacher and student have `w = 0`, w stays 0, and a mode is a linear network of one hidden layer. With a = b at
first, under every rule whose feedback is the readout, `u = ab` obeys `u̇ = 2u (c − u)`:

    u(k) = c / (1 + (c/u₀ − 1) e^{−2ck}),   half of c after ln(c/u₀ − 1)/(2c).

With a fixed feedback â, `ḃ = â (c − ab)` and `ȧ = b (c − ab)`, so that `a − b²/(2â)` stays what it is, and the time in
which b comes from b₀ to b is the integral of `1/(â (c − ab))`. From small weights half of c is reached after
`2^{1/3} (âc)^{−2/3} I`, where I is the integral of `1/(1 − x³)` from 0 to `2^{−1/3}`: there is no plateau, and modes of
different strength follow on each other less far apart.

Limits: one hidden layer; modes, into which aligned networks fall apart (experiment `equivalence`).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.integrate import quad

from localgrad.figures.plotting import rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.literature.topics import BPTT_KEY, DECAY, EPROP_KEY, RFLO_KEY, TBPTT_KEY, Published
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT

SOURCE = "theory, section 15 (Saxe et al. 2014)"
_NEW = "theory, section 15"


@dataclass(frozen=True)
class Parameters:
    """Strengths c of the modes, first `a = b`, feedback â; `duration` in learning time."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    start: float = 1e-3
    feedback: float = 1.0
    duration: float = 24.0
    num_times: int = 2401


def compute(p: Parameters) -> xr.Dataset:
    """Learning curves of the modes, and both closed forms."""
    rules = [BPTT(), TruncatedBPTT(1), RFLO(p.feedback, DECAY), EProp(p.feedback)]
    times, c = np.linspace(0, p.duration, p.num_times), np.array(p.strengths)
    start, teacher = Mode(p.start, p.start, 0.0), Mode(c, 1.0, 0.0)
    runs = [
        integrate_modes(r, start, teacher, duration=p.duration, rtol=1e-8, atol=1e-12, save_at=times) for r in rules
    ]
    states = [r.saved for r in runs if r.saved is not None]
    answer = np.array([s.a * s.b for s in states])
    u0 = p.start**2
    sigmoid = c[:, None] / (1 + (c[:, None] / u0 - 1) * np.exp(-2 * c[:, None] * times))
    return xr.Dataset(
        {
            "answer": (("flow_rule", "mode", "layer_time"), answer),
            "recurrent": (("flow_rule", "mode"), np.array([np.abs(s.w).max(-1) for s in states])),
            "sigmoid": (("mode", "layer_time"), sigmoid),
            "half": (("flow_rule", "mode"), _half_times(answer, c, times)),
            "fixed_half": ("mode", [_half_of_fixed(p, x) for x in p.strengths]),
            "small_half": ("mode", 2 ** (1 / 3) * (p.feedback * c) ** (-2 / 3) * _small_integral()),
        },
        {
            "flow_rule": (names := rule_axis(rules))["rule"], "flow_rule_name": ("flow_rule", names["rule_name"][1]),
            "mode": list(p.strengths), "layer_time": times,
        },
    )  # fmt: skip


def _half_times(answer: np.ndarray, c: np.ndarray, times: np.ndarray) -> np.ndarray:
    """When each curve is at half of its end."""
    return np.array([[np.interp(0.5, x / end, times) for x, end in zip(curves, c, strict=True)] for curves in answer])


def _half_of_fixed(p: Parameters, c: float) -> float:
    """The time to half of c under a fixed feedback, by the integral over b."""
    constant = p.start - p.start**2 / (2 * p.feedback)
    roots = np.roots([1 / (2 * p.feedback), 0, constant, -c / 2])
    half = float(roots[np.abs(roots.imag) < 1e-9].real.max())
    found, _ = quad(lambda b: 1 / (p.feedback * (c - b * (constant + b**2 / (2 * p.feedback)))), p.start, half)
    return float(found)


def _small_integral() -> float:
    return float(quad(lambda x: 1 / (1 - x**3), 0, 2 ** (-1 / 3))[0])


def facts(data: xr.Dataset) -> dict[str, float]:
    """What claims and verdicts are made of."""
    symmetric, fixed = data.sel(flow_rule=[BPTT_KEY, TBPTT_KEY]), data.sel(flow_rule=[RFLO_KEY, EPROP_KEY])
    slowest, fastest = data.half.isel(mode=-1), data.half.isel(mode=0)
    spread = slowest / fastest
    return {
        "sigmoid": float((np.abs(symmetric.answer - data.sigmoid) / data.mode).max()),
        "stays": float(data.recurrent.max()),
        "fixed": float(np.abs(fixed.half / data.fixed_half - 1).max()),
        "small": float(np.abs(fixed.half / data.small_half - 1).max()),
        "ratio": float(data.mode[0] / data.mode[-1]),
        "spread": float(spread.sel(flow_rule=BPTT_KEY)), "fixed-spread": float(spread.sel(flow_rule=RFLO_KEY)),
        "sooner": float((data.half.sel(flow_rule=BPTT_KEY) / data.half.sel(flow_rule=RFLO_KEY)).min()),
    }  # fmt: skip


def claims(data: xr.Dataset) -> list[Claim]:
    """Saxe's sigmoids, and what a fixed feedback makes of them."""
    found, name = facts(data), "literature.feedforward"
    return [
        Claim.at_most(
            f"{name}-sigmoids", SOURCE,
            "Without memory modes learn along sigmoids under BPTT, and also under tBPTT(1) (largest deviation over "
            "the strength)",
            1e-4, found["sigmoid"],
        ),
        Claim.at_most(
            f"{name}-no-memory", _NEW,
            "and no recurrent weight comes about under any rule (largest)",
            1e-12, found["stays"],
        ),
        Claim.at_most(
            f"{name}-fixed", _NEW,
            "Under RFLO and e-prop with fixed feedback the time to half is the integral of 1/(â (c − ab)) (largest "
            "relative deviation)",
            1e-3, found["fixed"],
        ),
        Claim.at_most(
            f"{name}-small", _NEW,
            "which from small weights is 2^(1/3) (âc)^(−2/3) I (largest relative deviation)",
            0.01, found["small"],
        ),
        Claim.at_most(
            f"{name}-spread", _NEW,
            "so that modes up to 8 times as strong as others are learned 8^(2/3) = 4 times as fast (ratio of slowest "
            "and fastest over 8^(2/3))",
            1.02, found["fixed-spread"] / found["ratio"] ** (2 / 3),
        ),
        Claim.at_least(
            f"{name}-order", SOURCE,
            "Under BPTT the stronger a mode the sooner it is learned, nearly as one over its strength (ratio of "
            "slowest and fastest over that of strengths)",
            0.8, found["spread"] / found["ratio"],
        ),
        Claim.at_least(
            f"{name}-plateau", _NEW,
            "and the plateau before is BPTT's: from weights of 0.001 RFLO is at half sooner by far (least ratio)",
            3, found["sooner"],
        ),
    ]  # fmt: skip


def published(data: xr.Dataset) -> list[Published]:
    """The statement of Saxe et al. 2014."""
    found = facts(data)
    return [
        Published.judged(
            "Linear networks of one hidden layer learn each mode along a sigmoid, the stronger the sooner",
            "Saxe et al.",
            {"sigmoids": found["sigmoid"] < 1e-4, "the order": found["spread"] > 1},
            f"deviation {found['sigmoid']:.0e}; slowest over fastest {found['spread']:.1f}, under RFLO "
            f"{found['fixed-spread']:.1f}",
        )
    ]  # fmt: skip


def draw(data: xr.Dataset, axis: Axes) -> None:
    """Modes under BPTT and RFLO; the sigmoids below, wide."""
    for mode in data.mode.values:
        axis.plot(data.layer_time, data.sigmoid.sel(mode=mode) / mode, color="0.8", linewidth=4)
        for key in (BPTT_KEY, RFLO_KEY):
            first = mode == data.mode.values[0]
            label = name_of(data, key, "flow_rule") if first else None
            curve = data.answer.sel(mode=mode, flow_rule=key) / mode
            axis.plot(data.layer_time, curve, **rule_style(key) | {"marker": ""}, label=label)
    axis.set(xlabel="learning time", ylabel="ab over its end", xlim=(0, float(data.layer_time[-1])))
