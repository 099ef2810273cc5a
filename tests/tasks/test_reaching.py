"""Reaching in a closed loop: errors along each choice of paths, by brute force and finite differences; the bodies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shipped_tasks import LOOPS

import localgrad as lg

KEY, BATCH = jax.random.key(0), 3
RNG = np.random.default_rng(1)
W, B, A = 0.5 * RNG.normal(size=(4, 4)), RNG.normal(size=(4, 6)), RNG.normal(size=(2, 4))
R = RNG.normal(size=(2, 4))


def network(W=W, B=B, A=A):
    return lg.Network(lg.cells.LeakyRate(W, B, None, leak=0.4), lg.Readout(A))


def along(name, credit):
    task = LOOPS[name]
    return lg.tasks.Reaching(task.body, length=task.length, effort=0.1, credit=credit)


def simulated(task, weights, given=None):
    """Mean cost and commands of trials, step by step without the library's loop; `given` commands take their place."""
    W, B, A = weights

    def trial(key, given):
        costs, said = [], []
        state, s = task.start(key), jnp.zeros(4)
        for t in range(task.length):
            s = 0.6 * s + 0.4 * jnp.tanh(W @ s + B @ task.sense(state))
            y = A @ s if given is None else given[t]
            said.append(y)
            state = task.move(state, y)
            costs.append(task.cost(state, y))
        return jnp.stack(costs), jnp.stack(said)

    costs, said = jax.vmap(trial, in_axes=(0, None if given is None else 0))(jax.random.split(KEY, BATCH), given)
    return costs.mean(), said


@pytest.fixture(scope="module", params=["mass", pytest.param("arm", marks=pytest.mark.slow)])
def body(request):
    return request.param


def errors_of(task, batch):
    """The errors that the targets of a batch stand for, of the mean over trials and steps."""
    _, said = simulated(task, (W, B, A))
    return (said - batch.targets) / (BATCH * task.length)


@pytest.mark.slow
def test_with_credit_through_the_loop_bptt_is_the_gradient_of_the_closed_loop(body):
    task = along(body, "loop")
    batch, loss = task.sample(KEY, BATCH, network())
    update, _ = lg.network_update(lg.BPTT(), network(), batch.inputs, batch.targets, mask=batch.mask)
    exact_loss, gradient = jax.jit(jax.value_and_grad(lambda w: simulated(task, w)[0]))((W, B, A))
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-12)
    for found, exact in zip((update.layers[0].W, update.layers[0].B, update.readout.A), gradient, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_with_credit_through_the_loop_bptt_is_what_finite_differences_say(body):
    task = along(body, "loop")
    batch, _ = task.sample(KEY, BATCH, network())
    update, _ = lg.network_update(lg.BPTT(), network(), batch.inputs, batch.targets)
    step = 1e-5
    for name, at in (("W", (1, 2)), ("B", (0, 3)), ("A", (1, 0))):
        given = {"W": W, "B": B, "A": A}
        losses = []
        for sign in (1, -1):
            moved = given[name].copy()
            moved[at] += sign * step
            losses.append(float(task.sample(KEY, BATCH, network(**(given | {name: moved})))[1]))
        found = update.readout.A if name == "A" else getattr(update.layers[0], name)
        np.testing.assert_allclose(found[at], (losses[0] - losses[1]) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_with_credit_through_the_plant_errors_are_those_of_given_commands(body):
    """What the network senses is then no consequence of its commands."""
    task = along(body, "plant")
    _, said = simulated(task, (W, B, A))
    exact = jax.jit(jax.grad(lambda y: simulated(task, (W, B, A), given=y)[0]))(said)
    found = errors_of(task, task.sample(KEY, BATCH, network())[0])
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-13)


def test_with_credit_of_the_step_errors_know_its_cost_only(body):
    task = along(body, "step")
    _, said = simulated(task, (W, B, A))

    def trial(key, commands):
        exact, state = [], task.start(key)
        for y in commands:
            exact.append(jax.grad(lambda y, p=state: task.cost(task.move(p, y), y))(y))
            state = task.move(state, y)
        return jnp.stack(exact)

    exact = jax.jit(jax.vmap(trial))(jax.random.split(KEY, BATCH), said) / (BATCH * task.length)
    np.testing.assert_allclose(errors_of(task, task.sample(KEY, BATCH, network())[0]), exact, rtol=1e-9, atol=1e-13)


def test_paths_differ_but_not_at_the_last_step(body):
    found = {credit: along(body, credit).sample(KEY, BATCH, network())[0] for credit in ("step", "plant", "loop")}
    for one, other in (("step", "plant"), ("plant", "loop")):
        assert np.abs(found[one].targets - found[other].targets).max() > 1e-4
        np.testing.assert_allclose(found[one].targets[:, -1], found[other].targets[:, -1], atol=1e-14)
        assert np.array_equal(found[one].inputs, found[other].inputs)


@pytest.mark.parametrize("rule", [lg.RFLO(R, "internal"), lg.EProp(), lg.TruncatedBPTT(1)], ids=lambda r: r.key)
def test_every_rule_learns_from_the_same_batch_recorded_and_online(rule):
    batch, _ = along("mass", "plant").sample(KEY, BATCH, network())
    both = [
        lg.network_update(rule, network(), batch.inputs, batch.targets, mask=batch.mask, method=method)[0]
        for method in ("recorded", "online")
    ]
    np.testing.assert_allclose(both[0].layers[0].W, both[1].layers[0].W, rtol=1e-10, atol=1e-14)


def test_a_hand_at_rest_costs_a_half_a_step(body):
    _, loss = LOOPS[body].sample(KEY, BATCH, network(A=np.zeros((2, 4))))
    np.testing.assert_allclose(loss, 0.5, rtol=1e-12)


def test_trials_follow_from_the_key_and_compile(body):
    task = LOOPS[body]
    batch, again = (task.sample(KEY, BATCH, network())[0] for _ in range(2))
    assert np.array_equal(batch.targets, again.targets)
    assert batch.inputs.shape == (BATCH, task.length, task.num_inputs)
    compiled = jax.jit(lambda key, net: task.sample(key, BATCH, net)[0])(KEY, network())
    np.testing.assert_allclose(compiled.targets, batch.targets, rtol=1e-12)
    states, commands = task.run(KEY, BATCH, network())
    assert commands.shape == (BATCH, task.length, 2)
    np.testing.assert_allclose(commands, simulated(task, (W, B, A))[1], rtol=1e-12)
    assert states.body.place.shape == (BATCH, task.length, 2)


def test_targets_stand_on_a_circle():
    task = lg.tasks.Reaching(targets=4)
    targets = np.array([task.start(key).target for key in jax.random.split(KEY, 40)])
    assert {tuple(x) for x in np.round(targets).astype(int)} == {(1, 0), (0, 1), (-1, 0), (0, -1)}
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1)


def test_a_network_of_other_sizes_is_refused():
    small = lg.Network(lg.cells.LeakyRate([[0.5]], [[1.0]], None, leak=0.4), lg.Readout([[1.0]]))
    message = "the network has 1 inputs and 1 outputs, but the Reaching task 6 and 2; they must agree"
    with pytest.raises(ValueError, match=message):
        LOOPS["mass"].sample(KEY, BATCH, small)
    with pytest.raises(ValueError, match="the network is a LinearRNN, not a Network"):
        LOOPS["mass"].sample(KEY, BATCH, lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]))


@pytest.mark.slow
def test_a_rule_through_the_plant_needs_the_loop():
    options = {"key": KEY, "num_steps": 1, "batch_size": 2, "learning_rate": 0.1}
    through = lg.BPTT(through_plant=True)
    with pytest.raises(ValueError, match="carries credit through the plant, but the task has credit='plant'; give it"):
        lg.train(through, network(), along("mass", "plant"), **options)
    local = lg.Rule(R, "internal", through_plant=True)
    with pytest.raises(ValueError, match="by an M and F of its own, which is not computed for cells"):
        lg.train(local, network(), along("mass", "loop"), **options)
    same = [lg.train(rule, network(), along("mass", "loop"), **options) for rule in (through, lg.BPTT())]
    assert np.array_equal(same[0].final.layers[0].W, same[1].final.layers[0].W)


# --- bodies ----------------------------------------------------------------------------------------------------------

ARM = lg.tasks.TwoJointArm(step=0.001)
PLACE, VELOCITY = jnp.array([0.4, 1.1]), jnp.array([1.5, -2.0])


def kinetic(place, velocity):
    """Of two rods, from the places of their masses: `½ I₁ θ̇₁² + ½ I₂ (θ̇₁ + θ̇₂)² + ½ m₂ (the rest of the second's)`."""
    first = lambda q: 0.30 * jnp.array([jnp.cos(q[0]), jnp.sin(q[0])])  # noqa: E731
    elbow = jax.jvp(first, (place,), (velocity,))[1]
    turning = velocity.sum()
    normal = jnp.array([-jnp.sin(place.sum()), jnp.cos(place.sum())])
    # The second moment of inertia is about the elbow, so its centre adds only what the elbow's motion does.
    moved = 1.0 * (elbow @ elbow) / 2 + 1.0 * 0.16 * turning * (elbow @ normal)
    return 0.025 * velocity[0] ** 2 / 2 + 0.045 * turning**2 / 2 + moved


def test_the_arm_obeys_lagrange():
    """`d/dt ∂K/∂θ̇ − ∂K/∂θ = u − D θ̇`."""
    force = jnp.array([0.3, -0.7])
    acceleration = ARM.acceleration(type(ARM.rest())(PLACE, VELOCITY), force)
    momentum = jax.grad(kinetic, 1)
    change = jax.jvp(momentum, (PLACE, VELOCITY), (VELOCITY, acceleration))[1] - jax.grad(kinetic)(PLACE, VELOCITY)
    friction = jnp.array([[0.05, 0.025], [0.025, 0.05]]) @ VELOCITY
    np.testing.assert_allclose(change, force - friction, rtol=1e-10)


def test_the_hand_moves_as_fast_as_it_moves():
    state = type(ARM.rest())(PLACE, VELOCITY)
    place = lambda q: ARM.hand(type(state)(q, VELOCITY))[0]  # noqa: E731
    np.testing.assert_allclose(ARM.hand(state)[1], jax.jvp(place, (PLACE,), (VELOCITY,))[1], rtol=1e-12)


def test_the_arm_at_rest_points_its_hand_up_and_stays():
    state = ARM.rest()
    upper, lower = np.array([0.30, 0.33]) / np.sqrt(2)
    np.testing.assert_allclose(ARM.hand(state)[0], [upper - lower, upper + lower], rtol=1e-12)
    np.testing.assert_allclose(ARM.moved(state, jnp.zeros(2)).place, state.place, rtol=1e-12)


@pytest.mark.slow
def test_the_mass_has_its_terminal_velocity():
    body, force = lg.tasks.PointMass(mass=0.5, damping=2.0, step=0.01), jnp.array([1.0, -0.5])
    state = jax.lax.fori_loop(0, 2000, lambda _, s: body.moved(s, force), body.rest())
    np.testing.assert_allclose(state.velocity, force / 2.0, rtol=1e-10)
