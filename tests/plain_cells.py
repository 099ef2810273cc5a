"""Recurrent cells and learning rules in the plainest form, written without the library.

A cell here is a function of its parameters, its state before, what it heard from the units, and its input; a rule is a
matrix for each step and a dense table of sensitivities.
"""

import jax
import jax.numpy as jnp
import numpy as np

STATES = {"LSTM": 2, "AdaptiveLIF": 2, "LRU": 2, "S5": 2, "Selective": 2}
DRIVES = {"GRU": 3, "LSTM": 4, "LRU": 2, "S5": 2, "Selective": 3}
OWN = {
    "LeakyRate": {"leak": 0.4},
    "LeakyPotential": {"leak": 0.4},
    "LIF": {"decay": 0.8},
    "AdaptiveLIF": {"decay": 0.8, "adaptation": 0.7},
    "LRU": {"nu": -1.0, "phase": 0.5, "log_gain": 0.3},
    "S5": {"log_decay": -0.5, "frequency": 0.7, "log_step": -0.2},
    "Selective": {"log_decay": -0.5, "frequency": 0.7},
}
KINDS = ("Linear", "LeakyRate", "LeakyPotential", "GRU", "LSTM", "LIF", "AdaptiveLIF", "LRU", "S5", "Selective")


def spike(excess, dampening=0.3):
    """A step whose derivative is a triangle, by the difference of a smooth function with itself."""
    inside = jnp.clip(excess, -1, 1)
    smooth = dampening * (inside - inside * jnp.abs(inside) / 2)
    return (excess > 0) + smooth - jax.lax.stop_gradient(smooth)


def sigma(x):
    return 1 / (1 + jnp.exp(-x))


def heard(kind, s):
    """What others hear of a state of `states × hidden`, flat."""
    if kind == "LeakyPotential":
        return jnp.tanh(s[0])
    if kind == "LSTM":
        return s[1]
    if kind == "LIF":
        return spike(s[0] - 1)
    if kind == "AdaptiveLIF":
        return spike(s[0] - 1 - 0.1 * s[1])
    return s.ravel() if kind in ("LRU", "S5", "Selective") else s[0]


def following(kind, p, s, z, x):
    """The next state, with what is heard of the state before, `z`, given by itself."""
    if kind in ("LRU", "S5", "Selective"):
        return state_space(kind, p, s, x)
    if kind == "GRU":
        r, q = (sigma(p["W"][i] @ z + p["B"][i] @ x + p["bias"][i]) for i in (0, 1))
        new = jnp.tanh(r * (p["W"][2] @ z) + p["B"][2] @ x + p["bias"][2])
        return ((1 - q) * new + q * s[0])[None]
    if kind == "LSTM":
        i, f, g, o = (p["W"][k] @ z + p["B"][k] @ x + p["bias"][k] for k in range(4))
        c = sigma(f) * s[0] + sigma(i) * jnp.tanh(g)
        return jnp.stack([c, sigma(o) * jnp.tanh(c)])
    u = p["W"] @ z + p["B"] @ x + p["bias"]
    own = heard(kind, s)
    if kind == "LeakyRate":
        return ((1 - p["leak"]) * s[0] + p["leak"] * jnp.tanh(u))[None]
    if kind == "LeakyPotential":
        return ((1 - p["leak"]) * s[0] + p["leak"] * u)[None]
    if kind == "LIF":
        return (p["decay"] * s[0] + u - jax.lax.stop_gradient(own))[None]
    if kind == "AdaptiveLIF":
        return jnp.stack([p["decay"] * s[0] + u - jax.lax.stop_gradient(own), p["adaptation"] * s[1] + own])
    return u[None]


def state_space(kind, p, s, x):
    u = jnp.einsum("khi,i->kh", p["B"], x) + p["bias"]
    h, entered = s[0] + 1j * s[1], u[0] + 1j * u[1]
    if kind == "LRU":
        h = jnp.exp(-jnp.exp(p["nu"]) + 1j * p["phase"]) * h + jnp.exp(p["log_gain"]) * entered
    else:
        rate = -jnp.exp(p["log_decay"]) + 1j * p["frequency"]
        held = jnp.exp(rate * (jnp.exp(p["log_step"]) if kind == "S5" else jnp.log1p(jnp.exp(u[2]))))
        h = held * h + (held - 1) / rate * entered
    return jnp.stack([h.real, h.imag])


def run(kind, p, A, c, x):
    """States, emissions and outputs of one sequence."""
    n = p["B"].shape[-2]
    s, emitted, states = jnp.zeros((STATES.get(kind, 1), n)), [], []
    for x_t in x:
        s = following(kind, p, s, heard(kind, s), x_t)
        states.append(s)
        emitted.append(heard(kind, s))
    return states, emitted, jnp.stack(emitted) @ A.T + c


def gradient(kind, p, A, c, inputs, targets):
    """The loss, and its gradient by JAX, of a batch."""

    def loss(p, A, c):
        outputs = jax.vmap(lambda x: run(kind, p, A, c, x)[2])(inputs)
        return jnp.sum((outputs - targets) ** 2) / 2 / inputs.shape[0] / inputs.shape[1]

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(p, A, c)


def recording(kind, p, A, c, inputs, targets):
    """Dense derivatives of every step of every sequence: by the state, through what is heard, by parameters."""

    def of_step(s, x):
        z = heard(kind, s)
        own = jax.jacfwd(lambda s: following(kind, p, s, z, x))(s)
        mixing = jax.jacfwd(lambda z: following(kind, p, s, z, x))(z)
        by_p = jax.jacfwd(lambda p: following(kind, p, s, z, x))(p)
        return own, mixing, by_p, following(kind, p, s, z, x)

    def of_sequence(x, y):
        s, found = jnp.zeros((STATES.get(kind, 1), p["B"].shape[-2])), []
        for t, x_t in enumerate(x):
            before = jax.jacfwd(lambda s: heard(kind, s))(s)
            own, mixing, by_p, s = of_step(s, x_t)
            found.append(
                (own, mixing, by_p, before, jax.jacfwd(lambda s: heard(kind, s))(s), A @ heard(kind, s) + c - y[t])
            )
        return jax.tree.map(lambda *xs: jnp.stack(xs), *found)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_sequence))(inputs, targets))


def update(kind, A, record, F, *, full=0.0, diagonal=0.0, internal=0.0, decay=0.0, lags=None, delay=0):
    """Updates of the parameters by dense sensitivities under `M = full J + diagonal block(J) + internal I + decay`."""
    own, mixing, by_p, before, after, errors = record
    batch, steps = errors.shape[:2]
    d, n = own.shape[2:4]
    size, total = d * n, dict.fromkeys(by_p, 0.0)
    same_unit = np.kron(np.ones((d, d)), np.eye(n))
    for b in range(batch):
        immediate, carried, Ms = [], [], []
        for t in range(steps):
            I = own[b, t].reshape(size, size)  # noqa: E741
            J = I + mixing[b, t].reshape(size, -1) @ before[b, t].reshape(-1, size)
            Ms.append(full * J + diagonal * same_unit * J + internal * I + decay * np.eye(size))
            immediate.append({name: x[b, t].reshape(size, -1) for name, x in by_p.items()})
            carried.append({name: np.zeros_like(x) for name, x in immediate[-1].items()})
            product = np.eye(size)
            for j in range(t + 1 if lags is None else min(lags, t + 1)):
                for name in by_p:
                    carried[t][name] = carried[t][name] + product @ immediate[t - j][name]
                product = product @ Ms[t - j]
            if t >= delay:
                signal = (errors[b, t - delay] @ F) @ after[b, t].reshape(-1, size)
                for name, x in carried[t].items():
                    total[name] = total[name] + (signal @ x).reshape(by_p[name].shape[4:]) / batch / steps
    return total
