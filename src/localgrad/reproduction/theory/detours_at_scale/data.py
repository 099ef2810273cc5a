"""RFLO, BPTT and tBPTT(1) from the same random starts under random teachers: ends, lengths of path and times.

Teachers have `c = 1` and `w*` uniform in ±0.9. Starts are random: `a, b` normal with standard deviation `scale`, `w`
uniform in `±min(scale, 0.9)`.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.outcomes import Outcome
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT

ENDS = ("same branch", "far branch", "stalled", "diverged", "unfinished")


@dataclass(frozen=True)
class Parameters:
    """Numbers of RFLO and scales of the starts; `num_starts` for each combination."""

    scales: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0)
    feedbacks: tuple[float, ...] = (0.3, 1.0, 3.0)
    decays: tuple[float, ...] = (0.0, 0.5, 0.9)
    num_starts: int = 20_000
    duration: float = 2000.0
    seed: int = 0


def _starts(p: Parameters) -> tuple[Mode, Mode]:
    """Starts and teachers; starts of shape `"scale start"`."""
    rng = np.random.default_rng(p.seed)
    scale = np.array(p.scales)[:, None]
    a, b = rng.standard_normal((2, p.num_starts))
    w = rng.uniform(-1, 1, p.num_starts) * np.minimum(scale, 0.9)
    return Mode(scale * a, scale * b, w), Mode(1.0, 1.0, rng.uniform(-0.9, 0.9, p.num_starts))


def _ends(run: Ensemble, reference: Ensemble) -> np.ndarray:
    """Index into `ENDS`; branches are compared with BPTT's from the same start."""
    converged = run.outcome == Outcome.CONVERGED
    far = run.branch != reference.branch
    return np.where(converged, np.where(far, 1, 0), run.outcome + 1)


def compute(p: Parameters) -> xr.Dataset:
    """Shares of ends and quantiles of path length and learning time over BPTT's, over rules and scales."""
    start, teacher = _starts(p)
    feedback, decay = np.meshgrid(p.feedbacks, p.decays, indexing="ij")
    rflo = RFLO(feedback[..., None, None], decay[..., None, None])
    bptt, tbptt, local = (
        integrate_modes(rule, start, teacher, duration=p.duration, rtol=1e-5)
        for rule in (BPTT(), TruncatedBPTT(1), rflo)
    )
    ends = _ends(local, bptt)
    both = (local.outcome == Outcome.CONVERGED) & (bptt.outcome == Outcome.CONVERGED)
    with np.errstate(divide="ignore", invalid="ignore"):
        path = np.where(both, local.path_length / bptt.path_length, np.nan)
        time = np.where(both, local.time / bptt.time, np.nan)
    quantiles = (0.1, 0.5, 0.9)
    dims = ("feedback", "decay", "scale")
    inward = np.broadcast_to(feedback[..., None, None] * start.a > 0, ends.shape)
    bins = np.linspace(-0.9, 0.9, 10)
    place = np.digitize(teacher.w, bins[1:-1])
    by_w = np.stack([(ends[..., place == i] == 3).mean(axis=-1) for i in range(len(bins) - 1)], axis=-1)
    return xr.Dataset(
        {
            "share": ((*dims, "end"), _shares(ends)),
            "tbptt_share": (("scale", "end"), _shares(_ends(tbptt, bptt))),
            "path_ratio": (("quantile", *dims), np.nanquantile(path, quantiles, axis=-1)),
            "time_ratio": (("quantile", *dims), np.nanquantile(time, quantiles, axis=-1)),
            "same_sign": (dims, _mean_where(local.branch * feedback[..., None, None] > 0, local.branch != 0)),
            "diverged_inward": (dims, _mean_where(ends == 3, inward)),
            "diverged_outward": (dims, _mean_where(ends == 3, ~inward)),
            "diverged_by_w": ((*dims, "w_star"), by_w),
            "bptt_positive": ("scale", _mean_where(bptt.branch > 0, bptt.branch != 0)),
            "bptt_converged": ("scale", (bptt.outcome == Outcome.CONVERGED).mean(axis=-1)),
        },
        {
            "feedback": list(p.feedbacks),
            "decay": list(p.decays),
            "scale": list(p.scales),
            "end": list(ENDS),
            "quantile": list(quantiles),
            "w_star": (bins[:-1] + bins[1:]) / 2,
        },
    )


def _shares(ends: np.ndarray) -> np.ndarray:
    return np.stack([(ends == i).mean(axis=-1) for i in range(len(ENDS))], axis=-1)


def _mean_where(condition: np.ndarray, among: np.ndarray) -> np.ndarray:
    return (condition & among).sum(axis=-1) / np.maximum(among.sum(axis=-1), 1)


DESCRIBE = {
    "feedback": "RFLO's feedback â",
    "decay": "RFLO's decay ŵ",
    "scale": "standard deviation of the starts' a and b",
    "end": "how RFLO ends, against BPTT from the same start",
    "quantile": "quantile over starts",
    "w_star": "teacher's w*, middle of a bin",
    "share": "share of starts under RFLO",
    "tbptt_share": "share of starts under tBPTT(1)",
    "path_ratio": "length of RFLO's way over BPTT's, where both converge",
    "time_ratio": "RFLO's learning time over BPTT's, where both converge",
    "same_sign": "share of RFLO's converged runs that end where âs > 0",
    "diverged_inward": "share that diverges among starts with âa > 0",
    "diverged_outward": "share that diverges among starts with âa < 0",
    "diverged_by_w": "share of starts that diverges",
    "bptt_positive": "share of BPTT's converged runs that end at s > 0",
    "bptt_converged": "share of starts from which BPTT converges",
}
