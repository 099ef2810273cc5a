"""A tiny experiment for the tests of the report and the command line: how fast |w|^k decays."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import xarray as xr

from localgrad.figures.plotting import new_figure, rule_style
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec


@dataclass(frozen=True)
class Parameters:
    decay: float = 0.5
    num_steps: int = 20
    rules: tuple[str, ...] = ("BPTT", "RFLO")


def compute(parameters):
    steps = np.arange(parameters.num_steps)
    power = parameters.decay**steps
    eigenvalue = np.array([1 + 2j, 1 - 2j])
    return xr.Dataset({"power": ("step", power), "eigenvalue": ("pair", eigenvalue)}, coords={"step": steps})


def claims(dataset):
    total = dataset.power.sum()
    return [
        Claim.equal("demo.sum", "eq. 1", "The powers sum to 2 <b>", 2.0, total, tolerance=1e-4),
        Claim.at_most("demo.last", "eq. 2", "The last power is small & positive", 1e-5, dataset.power[-1]),
    ]


def failing_claims(dataset):
    return [*claims(dataset), Claim.at_least("demo.fails", "eq. 3", "NaN is never above a bound", 0.0, np.nan)]


def checks(dataset):
    return [Claim.at_most("demo.slow", "paper, powers", "Powers have fallen below 1e-9", 1e-9, dataset.power[-1])]


def draw(dataset):
    figure, [ax] = new_figure()
    ax.semilogy(dataset.step, dataset.power, **rule_style("rflo"), label="RFLO")
    ax.set(xlabel="step k", ylabel=r"$|w|^k$")
    ax.legend()
    return figure


def table(dataset):
    return [["quantity", "value"], ["sum", f"{float(dataset.power.sum()):.4f}"]]


DEMO = Experiment(
    name="demo",
    title="Powers decay",
    question="How fast do powers decay?",
    parameters=Parameters(),
    quick=Parameters(num_steps=18),
    compute=compute,
    claims=claims,
    figures=(FigureSpec("demo-decay", draw, "The line is straight: decay is exponential."),),
    table=table,
    table_caption="The sum of all powers.",
    checks=checks,
    numbers=lambda dataset: {"steps": dataset.sizes["step"]},
    describe={"power": "power of the decay", "eigenvalue": "a pair [1/step]", "step": "exponent"},
)
FAILING = dataclasses.replace(DEMO, claims=failing_claims)
