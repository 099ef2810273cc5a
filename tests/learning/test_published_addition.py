"""Delayed addition against losses known for it: sixteen tanh units on `Add(3, 6)`, within 0.01.

The task and its floors are those of Marschall, Cho & Savin 2020; of vanilla-rtrl, the program of that paper, losses of
0.453 (RTRL), 0.481 (one lag) and 0.547 (RFLO with random feedback) are reported, without the setting. Learning step by
step from one sequence of 100,000 steps, with units without a leak, an orthogonal `W`, descent of rate 0.01 and the odds
themselves as targets, gives 0.453, 0.478 and 0.503. Here the same network learns from batches of sequences.

The third loss is not found: RFLO with random feedback ends at 0.49 to 0.50 without a leak, and at 0.56 with one of 0.5,
where RTRL is at 0.464 and one lag at 0.575.
"""

import jax
import numpy as np
import pytest

import localgrad as lg

HIDDEN, SEEDS = 16, 2
PUBLISHED = {"rtrl": (lg.BPTT(), 0.453), "one lag": (lg.TruncatedBPTT(1), 0.481)}


def network(seed):
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0]
    B, A = rng.normal(size=(HIDDEN, 2)) / np.sqrt(2), rng.normal(size=(2, HIDDEN)) / np.sqrt(HIDDEN)
    return lg.Network(lg.cells.LeakyRate(W, B, np.zeros(HIDDEN), leak=1.0), lg.Readout(A, np.zeros(2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_losses_are_those_published(name):
    rule, published = PUBLISHED[name]
    run = lg.train(
        rule,
        [network(seed) for seed in range(SEEDS)],
        lg.tasks.Add(3, 6, length=60),
        key=jax.random.key(0),
        learning_rate=0.3,
        num_steps=2000,
        batch_size=8,
        test_task=lg.tasks.Add(3, 6, length=2000),
        test_size=10,
    )
    found = run.records["loss"][:, -1].mean()
    assert abs(found - published) < 0.01
    _, first, both = lg.tasks.Add(3, 6).floors
    assert both - 0.005 < found < first
