"""A claim that cannot fail is none: which claims and checks turn when a dataset is wrong."""

import warnings

import numpy as np


def perturbed(values, seed):
    """A variable, wrong in a few plain ways. Without NaN, which fails every claim that sees it."""
    if values.dtype == bool:
        return [~values, np.ones_like(values), np.zeros_like(values)]
    if values.dtype.kind == "i":
        wrong, changes = [values + 1, 0 * values, -values], (lambda row: row + 1,)
    else:
        size = np.abs(values[np.isfinite(values)]).max(initial=0) or 1.0
        noise = np.random.default_rng(seed).standard_normal(values.shape)
        wrong = [-values, 0.5 * values, values + 1, values + 0.3 * size * noise]
        changes = (lambda row: 0.1 * row, lambda row: 10 * row)
    for axis, length in enumerate(values.shape):  # one rule, or one mode, and not the others
        for row in range(min(length, 4)):
            place = (slice(None),) * axis + (row,)
            for change in changes:
                wrong.append(values.copy())
                wrong[-1][place] = change(values[place])
    return wrong


def answers(experiment, dataset):
    """Whether each claim holds and each check of the paper agrees."""
    compared = [*experiment.claims(dataset), *(experiment.checks(dataset) if experiment.checks else [])]
    return {claim.id: claim.holds for claim in compared}


def answers_that_change(experiment, dataset):
    """The claims and checks that one wrong variable or another turns."""
    right, changing = answers(experiment, dataset), set()

    def turned(wrong):
        try:
            return {id for id, holds in answers(experiment, wrong).items() if holds != right.get(id)}
        except (ValueError, IndexError):  # a wrong mask can leave nothing to look at, which answers nothing
            return set()

    for key, variable in dataset.data_vars.items():
        for values in perturbed(variable.values, seed=0):
            wrong = dataset.assign({key: (variable.dims, values, variable.attrs)})
            with warnings.catch_warnings(action="ignore"):  # logarithms of negative errors and the like
                changing |= turned(wrong)
    return changing
