r"""The slow phase: how long learning waits near the saddle `a = b = 0` when the first weights are small.

Rules with symmetric feedback rest at `(0, 0, w)`. Close to it `a` and `b` grow like `e^{λk}`, with `λ = |c|/(1−w w*)`
under BPTT and `|c|/√(1−w w*)` under tBPTT(1), while `w` hardly moves. From weights of size `ε` the loss halves only
after a delay of `log(1/ε)/λ`, up to a constant: it has no bound. RFLO feels a constant push
`Δb = −â c/(1−ŵ w*)` there, and its delay stays finite as `ε → 0`.

Limits: the first phase of one mode; `ε ≪ √|c|`.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, label_panels, new_figure, rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.equations import mode_loss
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import paper_rules
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """Sizes `ε` of the first `a` and `b`; random teachers, starts and signs; the drawn teacher. All dimensionless."""

    scales: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    num_starts: int = 50
    decay: float = 0.5
    duration: float = 80.0
    num_times: int = 4000
    drawn_teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    drawn_duration: float = 18.0
    seed: int = 0


def _rules(p: Parameters) -> list[Rule]:
    return paper_rules(1.0, p.decay)


def _losses(rule: Rule, start: Mode, teacher: Mode, times: np.ndarray) -> np.ndarray:
    """The loss at every time over that of a silent student; times in the last axis."""
    run = integrate_modes(rule, start, teacher, duration=times[-1], rtol=1e-8, atol=1e-14, save_at=times)
    assert run.saved is not None
    held = Mode(*(np.asarray(x)[..., None] for x in teacher))
    return mode_loss(run.saved, held) / mode_loss(Mode(0.0, 0.0, 0.0), held)


def _half_time(loss: np.ndarray, times: np.ndarray) -> np.ndarray:
    """When the loss is first below one half, between the times on a straight line."""
    after = np.argmax(loss < 0.5, axis=-1)[..., None]
    high, low = (np.take_along_axis(loss, i, axis=-1)[..., 0] for i in (after - 1, after))
    first, second = times[after[..., 0] - 1], times[after[..., 0]]
    found = first + (second - first) * (high - 0.5) / (high - low)
    return np.where(after[..., 0] > 0, found, np.nan)


def compute(p: Parameters) -> xr.Dataset:
    """Times until the loss has halved, over rules, scales and random starts; learning curves of one teacher."""
    rng = np.random.default_rng(p.seed)
    c, (w, w_star) = np.exp(rng.uniform(-0.7, 0.7, p.num_starts)), rng.uniform(-0.8, 0.8, (2, p.num_starts))
    scale, (a, b) = np.array(p.scales)[:, None], rng.standard_normal((2, p.num_starts))
    times = np.linspace(0, p.duration, p.num_times)
    start, teacher = Mode(scale * a, scale * b, np.broadcast_to(w, (len(p.scales), p.num_starts))), Mode(c, 1.0, w_star)
    delays = [_half_time(_losses(rule, start, teacher, times), times) for rule in _rules(p)]
    drawn, shown = Mode(*p.drawn_teacher), np.linspace(0, p.drawn_duration, 500)
    curves = [_losses(rule, Mode(np.array(p.scales), np.array(p.scales), 0.0), drawn, shown) for rule in _rules(p)]
    keys = [rule.key for rule in _rules(p)]
    return xr.Dataset(
        {
            "delay": (("rule", "scale", "start"), np.stack(delays)),
            "growth": (("rule", "start"), np.stack([c / (1 - w * w_star), c / np.sqrt(1 - w * w_star), 0 * c])),
            "curve": (("rule", "scale", "time"), np.stack(curves)),
        },
        {
            "rule": keys,
            "rule_name": ("rule", [rule.name for rule in _rules(p)]),
            "scale": list(p.scales),
            "time": shown,
        },
    )


def _slope(data: xr.Dataset, rule: int) -> np.ndarray:
    """By how much the delay grows, an e-folding of the scale, between the two smallest scales; one a start."""
    delay, scale = data.delay.isel(rule=rule), np.log(data.scale.values)
    return np.asarray((delay[-1] - delay[-2]).values / (scale[-2] - scale[-1]))


def _furthest(values: np.ndarray) -> float:
    return float(values[np.argmax(np.abs(values - 1))])


def claims(data: xr.Dataset) -> list[Claim]:
    """The delay follows the saddle's eigenvalue; without the saddle there is none."""
    law = "Each e-folding of the first weights delays learning by one over the saddle's eigenvalue, under"
    names = [str(name) for name in data.rule_name.values]
    return [
        *(
            Claim.equal(
                f"slow-phase.{word}",
                "theory, section 7",
                f"{law} {names[rule]} (delay times eigenvalue, furthest from 1 of random teachers and starts)",
                1.0,
                _furthest(_slope(data, rule) * data.growth.isel(rule=rule).values),
                tolerance=0.01,
            )
            for rule, word in enumerate(("full", "truncated"))
        ),
        Claim.at_most(
            "slow-phase.no-saddle",
            "theory, section 6",
            f"{names[2]} has no saddle to wait at: its delay stays the same from small weights on (change of the delay "
            "over the delay, an e-folding of the first weights, largest)",
            0.01,
            np.abs(_slope(data, 2) / data.delay.isel(rule=2, scale=-1).values).max(),
        ),
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """Median delays from the smallest and the largest weights."""
    median = data.delay.median("start")
    return {
        "small": float(data.scale.min()),
        "full-small": float(median.isel(rule=0, scale=-1)),
        "full-large": float(median.isel(rule=0, scale=0)),
        "local-small": float(median.isel(rule=2, scale=-1)),
        "local-large": float(median.isel(rule=2, scale=0)),
        "large": float(data.scale.max()),
    }


def draw(data: xr.Dataset) -> Figure:
    """Learning curves from ever smaller weights, and the time until the loss has halved."""
    figure, axes = new_figure(1, 3, height=3.0)
    for panel, rule in ((0, 0), (1, 2)):
        for place in range(data.sizes["scale"]):
            look = rule_style(str(data.rule.values[rule])) | {"marker": "", "linestyle": "-"}
            shade = 0.25 + 0.75 * (1 - place / (data.sizes["scale"] - 1))
            axes[panel].plot(data.time, data.curve.isel(rule=rule, scale=place), **look, alpha=shade)
        axes[panel].set(xlabel="learning time", title=str(data.rule_name.values[rule]), ylim=(0, 1.1))
    axes[0].set_ylabel("loss / loss of a silent student")
    for rule, name in enumerate(data.rule_name.values):
        delay = data.delay.isel(rule=rule).median("start")
        axes[2].plot(data.scale, delay, **rule_style(str(data.rule.values[rule])), label=str(name))
        if rule < 2:
            rate = float(np.median(1 / data.growth.isel(rule=rule)))
            axes[2].plot(data.scale, delay[-1] + rate * np.log(data.scale[-1] / data.scale), color=GREY, linewidth=0.8)
    axes[2].set(xscale="log", xlabel="size of the first weights", ylabel="time until the loss halves")
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="slow-phase",
    title="Waiting near the saddle",
    question="How long does learning from small weights take to begin, and does it depend on the saddle?",
    parameters=Parameters(),
    quick=Parameters(num_starts=20),
    compute=compute,
    claims=claims,
    numbers=numbers,
    figures=(
        FigureSpec(
            "slow-phase",
            draw,
            "A, B: the loss while a mode learns, from first weights a = b = 0.1 (darkest) down to 1e-6 "
            "(palest), w = 0, teacher (1, 1, 0.8). The smaller the weights, the later BPTT begins; RFLO begins at the "
            "same time from all small weights. C: median time until the loss has halved, over random teachers and "
            "starts; grey, the slopes that follow from the saddle's eigenvalues.",
        ),
    ),
    describe={
        "delay": "time until the loss is half that of a silent student [learning time]",
        "growth": "the saddle's unstable eigenvalue at the start's w, 0 where there is no saddle [1/learning time]",
        "curve": "loss over that of a silent student",
        "rule": "key of the rule",
        "rule_name": "name of the rule",
        "scale": "size of the first a and b",
        "time": "learning time [learning time]",
    },
)
