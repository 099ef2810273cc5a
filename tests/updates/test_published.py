"""Losses of e-prop on two tasks, as NEST publishes them in its test suite, there from the original TensorFlow code.

Source: the NEST simulator, its test of the plasticity `eprop_bsshslm_2020`, after the tasks of Bellec et
al. 2020, figures 3 and S7 (pattern generation) and 4 (evidence accumulation). The models here are written from NEST's
equations, and differ from ours in these conventions:

- Weights: what arrives is scaled by `1 − α`, so that `W = (1 − α) w` and `∂/∂w = (1 − α) ∂/∂W`; in evidence
  accumulation it is not.
- Surrogate derivative: a height of 0.3/θ over `|v − θ| < θ`, which is our `dampening=0.3`.
- Readout: it leaks, `y_t = κ y_{t−1} + (1 − κ) A z_t`. Their trace is filtered by `κ` once more; ours meets the error
  filtered by `κ` from the end of the sequence, the same sum in another order.
- Regularisation of rates: `c (f − f*)/T` for each unit and trial, an error of the unit's own: here further outputs that
  are fed back by the identity.
- Sums where ours are means over steps; evidence accumulation divides by the steps of its window.
- A refractory unit has a surrogate derivative of 0 and keeps its leak and its reset.

They publish 12 decimals; TensorFlow's single precision agrees with NEST to 7 digits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import localgrad as lg
from localgrad.cells.activations import spike

N = 100
NO_AUTAPSES = 1 - np.eye(N)
TARGET_RATE, REGULARISATION = 0.01, 300.0  # spikes a step
DIGITS = 1e-11  # relative: what twelve published decimals can tell


class Refractory(lg.Cell):
    """An adaptive unit that cannot spike in the four steps after a spike; the state is `(v, a, steps to wait)`."""

    decay: Any
    threshold: Any
    adaptation: Any
    strength: Any
    states = 3

    def local(self, s, u):
        z = self.emit(s)
        reset = jax.lax.stop_gradient(z)
        v = self.decay * s[0] + u - self.threshold * reset
        return jnp.stack([v, self.adaptation * s[1] + z, jnp.maximum(jax.lax.stop_gradient(s[2]) + 5 * reset - 1, 0)])

    def emit(self, s):
        excess = (s[0] - self.threshold - self.strength * s[1]) / self.threshold
        return spike(excess, 0.3) * (jax.lax.stop_gradient(s[2]) == 0)


def single(x):
    """Numbers drawn in double precision and cut to single, as theirs."""
    return x.astype(np.float32).astype(float)


def filtered(x, decay):
    """`y_t = κ y_{t−1} + (1 − κ) x_t` along the first axis."""
    found, y = np.zeros_like(x), np.zeros_like(x[0])
    for t, now in enumerate(x):
        y = decay * y + (1 - decay) * now
        found[t] = y
    return found


def spikes(x, w_in, w_rec, decay, threshold, rho=0.0, beta=0.0, wait=0):
    """The spikes of a sequence `"time input"`, by a plain loop."""
    v, a, z, left, found = np.zeros(N), np.zeros(N), np.zeros(N), np.zeros(N), []
    for now in x:
        v = decay * v + w_rec @ z + w_in @ now - threshold * z
        a, left = rho * a + z, np.maximum(left + wait * z - 1, 0)
        z = ((v > threshold + beta * a) & (left == 0)).astype(float)
        found.append(z)
    return np.array(found)


def update(cell, w_out, R, x, z, errors):
    """Ours, for given errors of the readout and of rates, as sums over steps and means over trials."""
    rates = REGULARISATION * (z.mean(1, keepdims=True) - TARGET_RATE) / z.shape[1]
    errors = np.concatenate([errors, np.broadcast_to(rates, z.shape)], axis=2)
    A = np.concatenate([w_out, np.zeros((N, N))])
    network = lg.Network(cell, lg.Readout(A))
    rule = lg.BellecEProp(np.concatenate([R, np.eye(N)]))
    found, info = lg.network_update(rule, network, x, z @ A.T - errors)
    np.testing.assert_allclose(info.loss, np.mean(np.sum(errors**2, 2)) / 2, rtol=1e-9)  # the same spikes
    parts = found.layers[0].W, found.layers[0].B, found.readout.A[: len(w_out)]
    return [z.shape[1] * np.asarray(part) for part in parts]


@pytest.mark.slow
def test_pattern_generation():
    draw = np.random.RandomState(1)
    w_in = single(draw.randn(N, N).T / 10)
    w_rec = single(draw.randn(N, N).T / 10) * NO_AUTAPSES
    w_out, R = single(draw.randn(N, 1).T / 10), single(draw.randn(N, 1) / 10).T
    x = (draw.rand(1000, N) < 0.05).astype(float)
    x[0] = 0
    amplitudes, phases = draw.uniform(0.5, 2.0, 4), draw.uniform(0, 2 * np.pi, 4)
    turns = 2 * np.pi * np.array([1, 2, 3, 5])
    target = sum(a * np.sin(np.linspace(p, p + c, 1000)) for a, p, c in zip(amplitudes, phases, turns, strict=True))
    target = (target - target[0]) / np.abs(target - target[0]).max()

    kept, losses = np.exp(-1 / 30), []
    for _ in range(5):
        z = spikes(x, (1 - kept) * w_in, (1 - kept) * w_rec, kept, 0.03)
        errors = filtered(z @ w_out.T, kept) - target[:, None]
        losses.append(np.sum(errors**2) / 2)
        scaled = (1 - kept) * w_rec, (1 - kept) * w_in
        cell = lg.cells.LIF(*scaled, None, mask=NO_AUTAPSES, decay=kept, threshold=0.03, dampening=0.3)
        by_rec, by_in, by_out = update(cell, w_out, R, x[None], z[None], filtered(errors[::-1], kept)[None, ::-1])
        w_rec, w_in = w_rec - 1e-4 * (1 - kept) * by_rec, w_in - 1e-4 * (1 - kept) * by_in
        w_out = w_out - 1e-4 * by_out
    published = [101.964356999041, 103.466731126205, 103.340607074771, 103.680244037686, 104.412775748752]
    np.testing.assert_allclose(losses, published, rtol=DIGITS)


def evidence(draw, batch):
    """Inputs of 7 cues, left or right, a delay and a recall; and which side had more."""
    shares = np.array([0.3, 0.7], np.float32)
    side = draw.choice([0, 1], batch)
    cues = np.array([draw.choice([0, 1], 7, p=p) for p in np.stack([shares[side], shares[1 - side]], 1)])
    rates = np.zeros((batch, 2250, 40))
    for trial, cue in np.ndindex(cues.shape):
        first = 10 * cues[trial, cue]
        rates[trial, 150 * cue + 50 : 150 * cue + 150, first : first + 10] = 0.04
    rates[:, -150:, 20:30] = 0.04
    rates[:, :, 30:] = 0.01
    x = rates > draw.rand(rates.size).reshape(rates.shape)
    x[:, 0] = 0
    return x.astype(float), (cues.sum(1) > 3).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "published"),
    [
        (1, [0.741152550006, 0.740388187700, 0.665785233177, 0.663644193322, 0.729428962844]),
        (2, [0.702163370672, 0.735555303152, 0.740354864111, 0.683882815282, 0.707841122268]),
    ],
)
def test_evidence_accumulation(batch, published):
    """Half of the units adapt; Adam, whose small constant stands outside its correction."""
    draw = np.random.RandomState(1)
    w_in = single(draw.randn(40, N).T / np.sqrt(40))
    w_rec = single(draw.randn(N, N).T / 10) * NO_AUTAPSES
    limit = np.sqrt(3 / ((N + 2) / 2))
    w_out = single(draw.uniform(-limit, limit, (N, 2)).T)
    R = single(draw.randn(N, 2)).T

    kept, rho, window, losses = np.exp(-1 / 20), np.exp(-1 / 2000), 150, []
    beta = np.repeat([0, 1.7 * (1 - rho) / (1 - kept)], N // 2)
    weights = [w_rec, w_in, w_out]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, 6):
        x, sides = evidence(draw, batch)
        w_rec, w_in, w_out = weights
        z = np.stack([spikes(trial, w_in, w_rec, kept, 0.6, rho, beta, wait=5) for trial in x])
        p = np.exp(np.stack([filtered(trial @ w_out.T, kept) for trial in z]))
        p, shown = p / p.sum(2, keepdims=True), np.eye(2)[sides][:, None]
        losses.append(-np.mean(np.log((p * shown).sum(2))[:, -window:]))
        errors = (p - shown) * (np.arange(2250) >= 2250 - window)[:, None]
        late = np.stack([filtered(trial[::-1], kept)[::-1] for trial in errors])
        cell = Refractory(w_rec, w_in, None, kept, 0.6, rho, beta, mask=NO_AUTAPSES)
        rate = 5e-3 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        for i, g in enumerate(update(cell, w_out, R, x, z, late)):
            first[i] = 0.9 * first[i] + 0.1 * g / window
            second[i] = 0.999 * second[i] + 0.001 * (g / window) ** 2
            weights[i] = weights[i] - rate * first[i] / (np.sqrt(second[i]) + 1e-8)
    np.testing.assert_allclose(losses, published, rtol=DIGITS)
