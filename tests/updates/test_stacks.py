"""Stacks of layers, losses and masks, cells of one's own, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_cells
import pytest

import localgrad as lg

N, INPUT, OUTPUT, T, BATCH = 3, 2, 2, 4, 2
RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(BATCH, T, INPUT)), RNG.normal(size=(BATCH, T, OUTPUT))
LOWER = {
    "W": RNG.normal(size=(N, N)),
    "B": RNG.normal(size=(N, INPUT)),
    "bias": RNG.normal(size=N),
    "leak": np.full(N, 0.4),
}
UPPER = {
    "W": RNG.normal(size=(N, N)),
    "B": RNG.normal(size=(N, N)),
    "bias": RNG.normal(size=N),
    "leak": np.full(N, 0.6),
}
A, R = RNG.normal(size=(OUTPUT, N)), RNG.normal(size=(OUTPUT, N))


def stack(feedback=None, **options):
    lower = lg.cells.LeakyRate(**LOWER, learns=tuple(LOWER), **options)
    return lg.Network([lower, lg.cells.LeakyPotential(**UPPER, learns=tuple(UPPER))], lg.Readout(A), feedback)


def run(lower, upper, A, x):
    """The plain stack: states of both layers and outputs."""
    s, r = jnp.zeros((1, N)), jnp.zeros((1, N))
    lows, highs, outputs = [], [], []
    for x_t in x:
        s = plain_cells.following("LeakyRate", lower, s, plain_cells.heard("LeakyRate", s), x_t)
        r = plain_cells.following("LeakyPotential", upper, r, plain_cells.heard("LeakyPotential", r), s[0])
        lows, highs = [*lows, s[0]], [*highs, r]
        outputs.append(A @ plain_cells.heard("LeakyPotential", r))
    return lows, highs, jnp.stack(outputs)


def assert_same(found, expected):
    for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-12)


class TestStacks:
    def test_bptt_is_the_gradient_through_all_layers(self):
        def loss(lower, upper, A):
            return jnp.sum((jax.vmap(lambda x: run(lower, upper, A, x)[2])(X) - Y) ** 2) / 2 / BATCH / T

        lower, upper, by_A = jax.jit(jax.grad(loss, (0, 1, 2)))(LOWER, UPPER, A)
        for method in ("recorded", "online"):
            found, _ = lg.network_update(lg.BPTT(), stack(), X, Y, method=method)
            for layer, expected in zip(found.layers, (lower, upper), strict=True):
                for name, value in expected.items():
                    np.testing.assert_allclose(getattr(layer, name), value, atol=1e-12)
            np.testing.assert_allclose(found.readout.A, by_A, atol=1e-12)

    @pytest.mark.parametrize("feedback", [None, [R]])
    def test_a_local_rule_sends_down_the_credit_of_the_moment(self, feedback):
        """By dense sensitivities of the lower layer, and the signal that reaches it through one step of the upper."""
        rule = lg.Rule(R, "internal")
        recorded, online = (lg.network_update(rule, stack(feedback), X, Y, method=m)[0] for m in ("recorded", "online"))
        assert_same(recorded, online)

        def signals(x, y):
            lows, highs, outputs = run(LOWER, UPPER, A, x)
            before = [jnp.zeros((1, N)), *highs[:-1]]

            def heard_above(low, r):
                heard = plain_cells.heard("LeakyPotential", r)
                return plain_cells.heard(
                    "LeakyPotential", plain_cells.following("LeakyPotential", UPPER, r, heard, low)
                )

            through = jnp.stack([jax.jacfwd(heard_above)(low, r) for low, r in zip(lows, before, strict=True)])
            error = outputs - y
            return jnp.einsum("to,oh,thl->tl", error, R, through) if feedback is None else error @ R

        own, mixing, by_p, before, after, _ = plain_cells.recording("LeakyRate", LOWER, A, 0, X, Y)
        record = (own, mixing, by_p, before, after, np.asarray(jax.jit(jax.vmap(signals))(X, Y)))
        expected = plain_cells.update("LeakyRate", A, record, np.eye(N), internal=1.0)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(recorded.layers[0], name), value, atol=1e-12)

    def test_a_fixed_feedback_learns_nothing(self):
        assert not np.any(lg.network_update(lg.EProp(), stack([R]), X, Y)[0].feedback[0])

    def test_layers_must_fit(self):
        cell = lg.cells.LeakyRate(**LOWER)
        with pytest.raises(ValueError, match="a layer hears 2 inputs, but the one below emits 3 numbers"):
            lg.Network([cell, cell], lg.Readout(A))
        with pytest.raises(ValueError, match="A of the readout has 2 columns, but the last layer emits 3 numbers"):
            lg.Network(cell, lg.Readout(np.ones((1, 2))))
        with pytest.raises(ValueError, match="must be a list of 1 matrices"):
            stack([R, R])
        with pytest.raises(ValueError, match="a layer is a dict; give a cell"):
            lg.Network([{}], lg.Readout(A))


class TestBlocks:
    """Normalisation, a gated linear unit and a residual way, around state-space layers and rate units."""

    VALUE, GATE = RNG.normal(size=(2, N, N))

    def network(self, value=VALUE, gate=GATE):
        lower = lg.cells.Block(lg.cells.LeakyRate(**LOWER | {"B": UPPER["B"]}), value, gate)
        upper = lg.cells.Block(
            lg.cells.LRU(None, np.stack([LOWER["W"], UPPER["W"]]), None), np.ones((N, 2 * N)), np.ones((N, 2 * N))
        )
        return lg.Network([lower, upper], lg.Readout(A))

    def loss(self, network, x, y):
        """By the equations, of everything that learns."""
        lower, upper = network.layers
        s, h, total = jnp.zeros((BATCH, N)), jnp.zeros((BATCH, N), complex), 0.0
        cell, pole = lower.cell, jnp.exp(-jnp.exp(upper.cell.nu) + 1j * upper.cell.phase)

        def norm(x):
            return (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-6)

        def gated(layer, z):
            return (z @ layer.value.T) / (1 + jnp.exp(-z @ layer.gate.T))

        for t in range(T):
            u = s @ cell.W.T + norm(x[:, t]) @ cell.B.T + cell.bias
            s = (1 - 0.4) * s + 0.4 * jnp.tanh(u)
            low = x[:, t] + gated(lower, s)
            h = pole * h + jnp.exp(upper.cell.log_gain) * (norm(low) @ (upper.cell.B[0] + 1j * upper.cell.B[1]).T)
            high = low + gated(upper, jnp.concatenate([h.real, h.imag], 1))
            total = total + jnp.sum((high @ network.readout.A.T - y[:, t]) ** 2) / 2 / BATCH / T
        return total

    def test_bptt_is_the_gradient(self):
        x, network = RNG.normal(size=(BATCH, T, N)), self.network()
        value, expected = jax.jit(jax.value_and_grad(self.loss))(network, x, Y)
        for method in ("recorded", "online"):
            found, info = lg.network_update(lg.BPTT(), network, x, Y, method=method)
            np.testing.assert_allclose(info.loss, value, rtol=1e-12)
            for (path, own), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
                if "leak" not in jax.tree_util.keystr(path):  # which does not learn
                    np.testing.assert_allclose(own, other, atol=1e-11, err_msg=jax.tree_util.keystr(path))

    def test_local_rules_recorded_and_online(self):
        x, network = RNG.normal(size=(BATCH, T, N)), self.network()
        rule = lg.Rule("symmetric", "internal")
        assert_same(*(lg.network_update(rule, network, x, Y, method=method)[0] for method in ("recorded", "online")))

    def test_shapes_must_fit(self):
        cell = lg.cells.LeakyRate(**LOWER)
        with pytest.raises(ValueError, match="hears 2 channels and emits 3; make them equal, or give residual=False"):
            lg.cells.Block(cell)
        with pytest.raises(ValueError, match="give both with 3 columns"):
            lg.cells.Block(cell, np.ones((2, 2)), np.ones((2, 2)))
        with pytest.raises(ValueError, match="value and gate, or neither"):
            lg.cells.Block(cell, np.ones((2, 3)))
        with pytest.raises(ValueError, match="the cell of a block is a dict"):
            lg.cells.Block({})


class TestLosses:
    CLASSES = RNG.integers(0, OUTPUT, size=(BATCH, T))
    MASK = np.array([[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 2.0]])

    def test_cross_entropy_of_masked_steps(self):
        def loss(lower, upper, A):
            logarithm = jax.nn.log_softmax(jax.vmap(lambda x: run(lower, upper, A, x)[2])(X))
            each = -jnp.take_along_axis(logarithm, self.CLASSES[..., None], 2)[..., 0]
            return jnp.mean(jnp.sum(each * self.MASK, 1) / self.MASK.sum(1))

        value, (lower, _, by_A) = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(LOWER, UPPER, A)
        for classes in (self.CLASSES, self.CLASSES.astype(float)):
            options = {"loss": "cross_entropy", "mask": self.MASK}
            found, info = lg.network_update(lg.BPTT(), stack(), X, classes, **options)
            np.testing.assert_allclose(info.loss, value, rtol=1e-12)
            np.testing.assert_allclose(found.layers[0].W, lower["W"], atol=1e-12)
            np.testing.assert_allclose(found.readout.A, by_A, atol=1e-12)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"inputs": X[..., :1]}, r"inputs have shape \(2, 4, 1\); give \(batch, time, 2\)"),
            ({"inputs": np.full_like(X, np.nan)}, "the inputs has an entry that is not finite"),
            ({"targets": np.full_like(Y, np.inf)}, "the targets has an entry that is not finite"),
            ({"targets": Y[:, 1:]}, r"targets have shape \(2, 3, 2\)"),
            ({"targets": CLASSES + 1, "loss": "cross_entropy"}, "whole numbers from 0 to 1; got 2.0"),
            ({"targets": CLASSES - 1, "loss": "cross_entropy"}, "whole numbers from 0 to 1; got -1.0"),
            ({"targets": CLASSES + 0.5, "loss": "cross_entropy"}, "whole numbers from 0 to 1"),
            ({"mask": MASK * [[1], [0]]}, "the mask of a sequence is 0 throughout"),
            ({"mask": -MASK}, "the mask has a negative entry"),
            ({"mask": MASK.T}, r"the mask has shape \(4, 2\); give \(2, 4\)"),
            ({"method": "exact"}, "method must be 'auto', 'recorded' or 'online'"),
            ({"loss": "hinge"}, "loss must be 'mse' or 'cross_entropy'"),
            ({"rule": lg.RFLO(np.ones((1, N)), 0.5)}, r"feedback has shape \(1, 3\)"),
            ({"rule": lg.RFLO("symmetric", np.ones(2))}, r"decay has shape \(2,\)"),
            ({"rule": lg.Rule("symmetric", lg.FixedMatrix(np.eye(N))), "method": "online"}, "use method 'recorded'"),
        ],
    )
    def test_bad_input_is_refused_in_one_sentence(self, options, words):
        given = {"rule": lg.BPTT(), "inputs": X, "targets": Y} | options
        with pytest.raises(ValueError, match=words):
            lg.network_update(given.pop("rule"), stack(), given.pop("inputs"), given.pop("targets"), **given)


def test_sensitivities_beyond_the_memory_are_refused():
    n = 1000
    network = lg.Network(lg.cells.Linear(np.zeros((n, n)), np.zeros((n, 1)), None), lg.Readout(np.zeros((1, n))))
    with pytest.raises(
        ValueError, match=r"the traces of all weights take .* use method 'recorded', or a smaller network"
    ):
        lg.network_update(lg.BPTT(), network, np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), method="online")


class TestCells:
    def test_a_cell_that_mixes_units_is_refused(self):
        class Normalised(lg.Cell):
            def local(self, s, u):
                return u / jnp.sum(u**2)

            def emit(self, s):
                return s

        network = lg.Network(Normalised(LOWER["W"], LOWER["B"], None), lg.Readout(A))
        with pytest.raises(ValueError, match="the local function or the emission of the cell Normalised mixes units"):
            lg.network_update(lg.BPTT(), network, X, Y)

    def test_units_that_mix_where_no_derivative_sees_it_are_refused(self):
        class OnlyTheLargest(lg.Cell):
            def local(self, s, u):
                return u * jax.lax.stop_gradient(u == u.max())

            def emit(self, s):
                return s

        network = lg.Network(OnlyTheLargest(LOWER["W"], LOWER["B"], None), lg.Readout(A))
        for call in (lambda: lg.network_update(lg.BPTT(), network, X, Y), lambda: lg.locality(lg.BPTT(), network)):
            with pytest.raises(
                ValueError, match="the local function or the emission of the cell OnlyTheLargest mixes units"
            ):
                call()

    def test_a_local_function_of_another_shape_is_refused(self):
        class Short(lg.Cell):
            def local(self, s, u):
                return u[:1]

            def emit(self, s):
                return s

        with pytest.raises(ValueError, match=r"local of the cell Short returns shape \(1,\), and must \(3,\)"):
            lg.network_update(lg.BPTT(), lg.Network(Short(LOWER["W"], LOWER["B"], None), lg.Readout(A)), X, Y)

    def test_what_learns_must_not_shape_what_is_heard(self):
        """The surrogate derivative holds the threshold: of a spike's own threshold there is no trace."""
        cell = lg.cells.LIF(LOWER["W"], LOWER["B"], None, learns=("W", "threshold"))
        with pytest.raises(ValueError, match="the emission of the cell LIF depends on threshold, which learns"):
            lg.network_update(lg.EProp(), lg.Network(cell, lg.Readout(A)), X, Y)

    def test_masks_and_signs_hold_and_what_does_not_learn_stays(self):
        mask, signs = np.array([[1.0, 0, 1], [0, 1, 1], [1, 1, 0]]), np.array([1.0, -1, 1])
        cell = lg.cells.LeakyRate(**LOWER, mask=mask, signs=signs)
        W = cell.weights().W[0]
        np.testing.assert_array_equal(W, mask * np.abs(LOWER["W"]) * signs)
        found = lg.network_update(lg.BPTT(), lg.Network(cell, lg.Readout(A)), X, Y)[0].layers[0]
        plain = lg.cells.LeakyRate(**LOWER | {"W": W})
        free = lg.network_update(lg.BPTT(), lg.Network(plain, lg.Readout(A)), X, Y)[0].layers[0]
        np.testing.assert_allclose(found.W, free.W * mask * signs * np.sign(LOWER["W"]), atol=1e-12)
        for constant in (found.leak, found.mask, found.signs):
            assert not np.any(constant)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: lg.cells.LeakyRate(np.ones((2, 3)), LOWER["B"], None), r"W of the cell has shape \(2, 3\)"),
            (lambda: lg.cells.LeakyRate(LOWER["W"], np.ones(3), None), r"B of the cell has shape \(3,\)"),
            (lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, leak=[0.1, 0.2]), r"leak of the cell has shape"),
            (lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, activation="sin"), "activation must be 'tanh'"),
            (
                lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, leak=0.0),
                r"leak of a LeakyRate must lie in \(0, 1\]; got 0",
            ),
            (lambda: lg.cells.LeakyPotential(LOWER["W"], LOWER["B"], None, leak=[0.5, 1.5, 1]), "got 1.5"),
            (
                lambda: lg.cells.LIF(LOWER["W"], LOWER["B"], None, decay=-0.1),
                r"decay of a LIF must lie in \[0, 1\]; got -0.1",
            ),
            (
                lambda: lg.cells.LIF(LOWER["W"], LOWER["B"], None, threshold=0),
                r"threshold of a LIF must lie in \(0, inf\)",
            ),
            (
                lambda: lg.cells.AdaptiveLIF(LOWER["W"], LOWER["B"], None, adaptation=2),
                "adaptation of an AdaptiveLIF must",
            ),
            (
                lambda: lg.cells.AdaptiveLIF(LOWER["W"], LOWER["B"], None, strength=-1),
                "strength of an AdaptiveLIF must",
            ),
            (
                lambda: lg.cells.LSTM(np.full((4, 3, 3), np.nan), np.ones((4, 3, 2)), None),
                "the LSTM cell has an entry that is not finite",
            ),
            (lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, learns=("V",)), r"learns is \('V',\); give a"),
            (lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, signs=[1, 0, 1]), r"\+1 or −1 for each unit"),
            (lambda: lg.cells.LeakyRate(LOWER["W"], LOWER["B"], None, mask=[1, 0, 1]), "mask of the cell has shape"),
            (lambda: lg.cells.GRU(LOWER["W"], LOWER["B"], None), "B of a GRU has 1 drives; give 3 of them"),
            (lambda: lg.cells.LRU(np.ones((2, 3, 3)), np.ones((2, 3, 1)), None), "can have no W; give None"),
        ],
    )
    def test_bad_cells_are_refused_where_they_are_made(self, make, words):
        with pytest.raises(ValueError, match=words):
            make()
