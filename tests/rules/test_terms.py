"""Terms of one's own: what ships, what a user writes, what is refused, and what the flags promise."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from cases import FEEDBACK, HIDDEN, OUTPUT, STUDENT, TEACHER, assert_close, matrices, network
from oracles import brute_force_update

import localgrad as lg

A, W, _ = STUDENT
X = np.random.default_rng(5).standard_normal((HIDDEN, HIDDEN)) / 4
MASK = (np.random.default_rng(6).random((HIDDEN, HIDDEN)) < 0.6).astype(float)
READOUT_MASK = (np.random.default_rng(7).random((OUTPUT, HIDDEN)) < 0.6).astype(float)


def cut(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The nearest matrix of a rank, by the eigenvectors of `XᵀX`."""
    _, vectors = np.linalg.eigh(matrix.T @ matrix)
    kept = vectors[:, -rank:]
    return matrix @ kept @ kept.T


class Clipped(lg.Term):
    """As a user would write one: not affine, not elementwise, and without a derivative worth mentioning."""

    limit: float

    def __call__(self, matrix):
        return jnp.clip(matrix, -self.limit, self.limit)

    def on_mode(self, x):
        return np.clip(np.real(x), -self.limit, self.limit)


class Squared(lg.Term):
    """Differentiable on a mode, but not affine."""

    def __call__(self, matrix):
        return matrix * matrix

    def on_mode(self, x):
        return x * x


class UnitDecays(lg.Term):
    """Diagonal, as a column, and affine on a mode."""

    decays: np.ndarray
    is_elementwise = True

    def __call__(self, matrix):
        return jnp.asarray(self.decays, matrix.dtype)[:, None]

    def on_mode(self, x):
        return self.decays[0]

    @property
    def affine(self):
        return self.decays[0], 0.0


class Careless(lg.Term):
    """A term that makes what it should not."""

    makes: str = eqx.field(static=True)
    elementwise: bool = eqx.field(static=True)

    def __init__(self, makes, is_elementwise=False):
        self.makes, self.elementwise = makes, is_elementwise

    @property
    def is_elementwise(self):
        return self.elementwise

    def __call__(self, matrix):
        return {
            "column": matrix[:, :1],
            "row": matrix[0],
            "dense": matrix,
            "bool": matrix > 0,
            "complex": 1j * matrix,
            "narrow": matrix.astype(jnp.float32),
            "nan": matrix * jnp.nan,
            "number": 0.1,
        }[self.makes]


DECAYS = np.array([0.9, -0.4, 0.25, 0.6])
# A term, what it makes of a matrix in plain NumPy, and what it is a summand of.
FEEDBACKS = {
    "sign": (lg.SignSymmetric(0.5), 0.5 * np.sign(A)),
    "mirror": (lg.WeightMirror(FEEDBACK, 0.5), FEEDBACK),
    "kolen-pollack": (lg.KolenPollack(FEEDBACK, 0.5), FEEDBACK),
    "mask": (lg.Mask(READOUT_MASK), READOUT_MASK * A),
    "low-rank": (lg.LowRank(1), cut(A, 1)),
    "matrix": (lg.FixedMatrix(FEEDBACK), FEEDBACK),
    "clipped": (Clipped(0.5), np.clip(A, -0.5, 0.5)),
}
PROPAGATORS = {
    "mask": (lg.Mask(MASK, 0.9), 0.9 * MASK * W),
    "matrix": (lg.FixedMatrix(X), X),
    "low-rank": (lg.LowRank(2), cut(W, 2)),
    "clipped": (Clipped(0.2), np.clip(W, -0.2, 0.2)),
    "units": (UnitDecays(DECAYS), np.diag(DECAYS)),
}
of_feedback = pytest.mark.parametrize("name", FEEDBACKS)
of_propagator = pytest.mark.parametrize("name", PROPAGATORS)


@of_feedback
def test_a_feedback_term_is_what_it_should_be(name):
    term, expected = FEEDBACKS[name]
    np.testing.assert_allclose(lg.Feedback(terms=(term,))(jnp.asarray(A)), expected, atol=1e-14)
    blended = lg.Rule(0.5 * FEEDBACK + term).feedback
    np.testing.assert_allclose(blended(jnp.asarray(A)), 0.5 * FEEDBACK + expected, atol=1e-14)


@of_propagator
def test_a_propagator_term_is_what_it_should_be(name):
    term, expected = PROPAGATORS[name]
    for propagator, own in ((lg.Rule(propagator=term).propagator, 0), (lg.Rule(propagator=0.1 + term).propagator, 0.1)):
        found = np.asarray(propagator(jnp.asarray(W)))
        assert propagator.is_elementwise == term.is_elementwise == (found.shape != W.shape)
        dense = found if found.shape == W.shape else found * np.eye(HIDDEN)
        np.testing.assert_allclose(dense, expected + own * np.eye(HIDDEN), atol=1e-14)


@pytest.mark.parametrize("method", ["doubling", "lags"])
@of_propagator
def test_updates_of_a_propagator_term_are_the_brute_force_sums(name, method):
    term, M = PROPAGATORS[name]
    rule = lg.Rule(FEEDBACK, term)
    expected = brute_force_update(FEEDBACK, M, None, STUDENT, TEACHER)
    assert_close(matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER), method=method)), expected, 1e-8)


@of_feedback
def test_updates_of_a_feedback_term_are_the_brute_force_sums(name):
    term, F = FEEDBACKS[name]
    rule = lg.Rule(term, 0.4)
    expected = brute_force_update(F, 0.4 * np.eye(HIDDEN), None, STUDENT, TEACHER)
    assert_close(matrices(lg.expected_update(rule, network(STUDENT), network(TEACHER))), expected, 1e-9)


def orthogonal(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


@pytest.mark.parametrize(
    "term",
    [lg.SignSymmetric(), lg.Mask(MASK), lg.LowRank(2), lg.FixedMatrix(X), Clipped(0.2)],
    ids=lambda term: type(term).__name__,
)
def test_the_alignment_flag_says_whether_rotations_pass_through(term):
    U, P = orthogonal(HIDDEN, 1), orthogonal(HIDDEN, 2)
    turned, after = term(jnp.asarray(U @ W @ P.T)), U @ np.asarray(term(jnp.asarray(W))) @ P.T
    assert np.allclose(turned, after, atol=1e-10) == term.keeps_alignment


@pytest.mark.parametrize("value", [0.7, -0.3])
@pytest.mark.parametrize(
    "term", [lg.SignSymmetric(0.5), lg.Mask(1.0, 0.7), lg.FixedMatrix(0.4), Clipped(0.5), UnitDecays(DECAYS[:1])]
)
def test_on_a_mode_a_term_is_its_network_of_one_unit(term, value):
    made = np.asarray(lg.Mask([[1.0]], 0.7)(np.array([[value]])) if isinstance(term, lg.Mask) else
                      term(jnp.array([[value]]))).item()  # fmt: skip
    assert term.on_mode(value) == pytest.approx(made, rel=1e-15)
    if term.affine is not None:
        assert term.affine[0] + term.affine[1] * value == pytest.approx(made, rel=1e-15)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ((0.0, 1.0), r"Telling says that it is k0 \+ k1 x on a mode, but its on_mode\(0.75\) is 0.5625 .* gives 0.75;"),
        (1.0, r"affine of the term Telling is 1.0; give \(k0, k1\) or None"),
        (lambda self: (0.0, 1.0), "affine of the term Telling is a method; write @property above it"),
    ],
)
def test_a_term_that_tells_what_it_is_not_is_refused(word, words):
    """`learn_mode` would follow its word, networks and symbols what it does."""
    with pytest.raises(ValueError, match=words):
        lg.Rule(type("Telling", (Squared,), {"affine": word})())


def test_a_term_is_believed_where_nothing_contradicts():
    """Traced numbers, symbols, and a term that says nothing of modes."""

    def slope(k):
        return jnp.asarray(lg.Rule(lg.Mask(1.0, k)).affine[1])

    class NoMode(lg.Term):
        affine = (0.0, 1.0)

    assert jax.grad(slope)(0.5) == 1
    assert lg.Rule(lg.Mask(sympy.Symbol("s"))).affine[1] == 1.0 * sympy.Symbol("s")
    assert lg.Rule(NoMode()).affine[:2] == (0.0, 1.0)


def test_the_jacobian_sees_a_terms_slope():
    """Central differences of the update, error about 1e-9."""
    rule = lg.Rule(0.3 + Squared(), 0.4)
    student, teacher = lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6)
    up, down = (lg.mode_update(rule, student._replace(a=0.8 + step), teacher) for step in (1e-5, -1e-5))
    slope = -(np.array(up) - np.array(down)) / 2e-5
    np.testing.assert_allclose(lg.mode_jacobian(rule, student, teacher)[:, 0], slope, rtol=1e-8, atol=1e-8)


def test_a_term_that_cannot_be_differentiated_is_refused():
    with pytest.raises(ValueError, match="on_mode of the term Clipped cannot be differentiated"):
        lg.mode_jacobian(lg.Rule(Clipped(0.5)), lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6))


def test_a_symbol_passes_through_a_sign():
    a = sympy.Symbol("a", real=True)
    assert lg.SignSymmetric(2).on_mode(a) == 2 * sympy.sign(a)


class TestSums:
    def test_of_words_numbers_and_terms(self):
        rule = lg.Rule("symmetric" + lg.SignSymmetric() + 0.5, lg.LowRank(1) + lg.Propagator(full=0.5) + 0.2)
        assert rule.describe() == "custom: F = A + 0.5 + sign A, M = 0.5·J + 0.2·I + rank-1 part of J, all lags"

    def test_coefficients_add_up(self):
        blended = lg.Rule(lg.Feedback.blend(0.25, 1.0) + lg.Feedback(symmetric=0.25), lg.Propagator(decay=0.1) + 0.2)
        assert (blended.feedback.symmetric, blended.feedback.fixed) == (1.0, 0.25)
        assert blended.propagator.decay == pytest.approx(0.3)

    @pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
    def test_an_array_before_a_term_is_a_fixed_feedback(self, kind):
        rule = lg.Rule(kind(FEEDBACK) + lg.SignSymmetric())
        np.testing.assert_array_equal(rule.feedback.fixed, FEEDBACK)
        assert len(rule.feedback.terms) == 1


class TestLearning:
    rule = lg.Rule(lg.KolenPollack(FEEDBACK, 0.5) + lg.WeightMirror(-FEEDBACK, 0.25) + lg.SignSymmetric(), 0.4)

    def test_the_state_is_that_of_the_terms_that_learn(self):
        assert self.rule.learns
        assert len(self.rule.state) == 2
        np.testing.assert_array_equal(self.rule.state[0], FEEDBACK)
        assert lg.BPTT().state == ()
        assert not lg.BPTT().learns
        assert lg.BPTT().at(()) == lg.BPTT()

    def test_at_another_state(self):
        moved = self.rule.at((2 * FEEDBACK, 3 * FEEDBACK))
        np.testing.assert_allclose(moved.feedback(jnp.asarray(A)), 5 * FEEDBACK + np.sign(A))

    def test_the_updates_of_the_state(self):
        dA = np.full_like(A, 0.1)
        kolen_pollack, mirror = self.rule.state_update(A, dA)
        np.testing.assert_allclose(kolen_pollack, dA + 0.5 * (FEEDBACK - A))
        np.testing.assert_allclose(mirror, 0.25 * (-FEEDBACK - A))

    def test_only_a_feedback_learns(self):
        with pytest.raises(ValueError, match="the term WeightMirror learns, which only a feedback may"):
            lg.Rule("symmetric", lg.WeightMirror(FEEDBACK, 1.0))


class TestSeeds:
    batch = np.stack([FEEDBACK, 2 * FEEDBACK, 3 * FEEDBACK])

    @pytest.mark.parametrize("make", [lambda R: R, lambda R: lg.WeightMirror(R, 0.5), lambda R: lg.Mask(R)])
    def test_of_one_seed(self, make):
        rule = lg.Rule(make(self.batch))
        assert rule.num_seeds == 3
        assert eqx.tree_equal(rule.of_seed(1), lg.Rule(make(2 * FEEDBACK)))
        F = jax.vmap(lambda rule: rule.feedback(jnp.asarray(A)), in_axes=(rule.seed_axes(),))(rule)
        np.testing.assert_allclose(F[2], rule.of_seed(2).feedback(jnp.asarray(A)))

    def test_none_of_its_own(self):
        assert lg.RFLO(FEEDBACK, 0.5).num_seeds is None
        assert eqx.tree_equal(lg.RFLO(FEEDBACK, 0.5).of_seed(3), lg.RFLO(FEEDBACK, 0.5))

    def test_seeds_must_agree(self):
        with pytest.raises(ValueError, match=r"the rule's arrays hold \[2, 3\] seeds"):
            _ = lg.Rule(self.batch + lg.WeightMirror(self.batch[:2], 0.5)).num_seeds


class TestRefused:
    @pytest.mark.parametrize("kind", [lg.Rule, lg.Feedback, lg.Propagator])
    def test_subclasses(self, kind):
        with pytest.raises(TypeError, match=f"{kind.__name__} is final; .*write a localgrad.Term with __call__"):
            type("Mine", (kind,), {})

    @pytest.mark.parametrize(
        ("propagator", "words"),
        [
            (lg.Propagator(diagonal=DECAYS), "diagonal has shape"),
            (lg.Propagator(full=np.ones((HIDDEN, HIDDEN))), "full has shape"),
            (lg.Propagator(decay=np.ones((HIDDEN, HIDDEN))), "decay has shape"),
            (lg.Mask(np.ones((3, 3))), r"the mask has shape \(3, 3\)"),
            (lg.Mask(np.ones(HIDDEN)), r"the mask has shape \(4,\)"),
            (lg.FixedMatrix(np.ones((3, 3))), r"makes of a Jacobian J of shape \(4, 4\) one of shape \(3, 3\)"),
            ("full" + lg.FixedMatrix(np.ones((HIDDEN, 1))), r"of shape \(4, 4\) one of shape \(4, 1\)"),
            ("full" + lg.FixedMatrix(0.1), r"one of shape \(\)"),
            ("full" + Careless("column", is_elementwise=False), r"one of shape \(4, 1\)"),
            ("full" + Careless("dense", is_elementwise=True), r"one of shape \(4, 4\); it must be of shape \(4, 1\)"),
            ("diagonal" + Careless("row", is_elementwise=True), r"one of shape \(4,\)"),
            (Careless("bool"), "makes bool numbers of float64 ones"),
            (Careless("complex"), "makes complex128 numbers"),
            (Careless("narrow"), "makes float32 numbers"),
            (Careless("number"), r"one of shape \(\)"),
            (Careless("nan"), "what the term Careless makes of J has an entry that is not finite"),
        ],
    )
    def test_shapes_that_would_broadcast(self, propagator, words):
        for settings in ({}, {"horizon": 5}):
            with pytest.raises(ValueError, match=words):
                lg.expected_update(lg.Rule(FEEDBACK, propagator), network(STUDENT), network(TEACHER), **settings)

    def test_a_feedback_shape_that_would_broadcast(self):
        for feedback in (
            lg.Feedback(symmetric=np.ones((OUTPUT, 1))),
            lg.Mask(np.ones((OUTPUT, 1, 1, 1))),
            lg.Mask(np.ones((OUTPUT, HIDDEN)), np.ones(HIDDEN)),
            lg.SignSymmetric(np.ones(HIDDEN)),
            "symmetric" + lg.FixedMatrix(np.ones(HIDDEN)),
            "symmetric" + lg.WeightMirror(0.3, 0.5),
            "symmetric" + lg.KolenPollack(FEEDBACK[:1], 0.5),
        ):
            with pytest.raises(ValueError, match=r"has shape|one of shape"):
                lg.expected_update(lg.Rule(feedback), network(STUDENT), network(TEACHER))

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (1j, "is complex"),
            (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "is a masked array"),
            (np.array([None, 1.0], dtype=object), "is an array of object"),
            ([[1.0], [1.0, 2.0]], "whose rows differ in length"),
            (__import__("decimal").Decimal("0.5"), "is a Decimal"),
            ({"a": 1}, "is a dict"),
            (None, "is None"),
            (np.tanh, "is a function; .*localgrad.Term"),
            (lg.SignSymmetric, "is the class SignSymmetric"),
        ],
    )
    def test_what_is_no_number(self, value, words):
        with pytest.raises(ValueError, match=words):
            lg.RFLO(value, 0.5)
        with pytest.raises(ValueError, match=words):
            lg.RFLO(1.0, value)

    def test_complex_decays(self):
        with pytest.raises(ValueError, match="the decay is complex"):
            lg.RFLO(1.0, np.array([0.5 + 0j]))

    def test_the_two_parts_in_each_others_place(self):
        with pytest.raises(ValueError, match="the feedback is a Propagator; give it as propagator="):
            lg.Rule(lg.Propagator())
        with pytest.raises(ValueError, match="the propagator is a Feedback; give it as feedback="):
            lg.Rule("symmetric", lg.Feedback())

    def test_a_field_that_is_no_number(self):
        class Named(lg.Term):
            word: str

        with pytest.raises(ValueError, match="word of the term Named is the word 'x'"):
            lg.Rule(Named("x"))

    @pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf, np.ones(HIDDEN), 1j])
    @pytest.mark.parametrize("kind", [lg.WeightMirror, lg.KolenPollack])
    def test_rates_of_learning(self, kind, rate):
        with pytest.raises(ValueError, match="the rate at which the feedback learns"):
            kind(FEEDBACK, rate)

    def test_an_update_of_another_shape_than_the_state(self):
        class Mean(lg.WeightMirror):
            def update(self, readout, readout_update):
                return jnp.mean(readout)

        with pytest.raises(ValueError, match=r"update of the state of the term Mean has shape \(\)"):
            lg.expected_update(lg.Rule(Mean(FEEDBACK, 1.0)), network(STUDENT), network(TEACHER))

    def test_a_sum_begins_with_nothing(self):
        assert lg.Rule(sum([lg.SignSymmetric(), lg.SignSymmetric()])).feedback.fixed is None

    @pytest.mark.parametrize("rank", [0, -1, 1.5, True, "2"])
    def test_ranks(self, rank):
        with pytest.raises(ValueError, match="rank must be a whole number of at least 1"):
            lg.LowRank(rank)

    def test_narrow_integers_do_not_wrap(self):
        assert lg.RFLO(np.full((2, 4), 100, np.int8), 0.5).feedback.fixed.dtype == np.float64


@pytest.mark.parametrize("name", [*FEEDBACKS])
def test_rules_with_terms_pickle(name):
    rule = lg.Rule(FEEDBACKS[name][0], 0.5)
    if name == "clipped":
        pytest.skip("a class of this test module")
    assert eqx.tree_equal(pickle.loads(pickle.dumps(rule)), rule)


class TestPresetsOfOtherPackages:
    @pytest.fixture
    def points(self, monkeypatch):
        from localgrad.rules import presets

        def put(*found):
            monkeypatch.setattr(presets, "entry_points", lambda group: found)
            presets.known_presets.cache_clear()

        yield put
        monkeypatch.undo()
        presets.known_presets.cache_clear()

    @staticmethod
    def point(name, load):
        return type("Point", (), {"name": name, "value": "package:rule", "load": staticmethod(load)})()

    def test_are_found(self, points):
        points(self.point("Mine", lambda: lambda feedback: lg.Rule(feedback, 0.0, name="mine")))
        assert lg.make_rule("mine", feedback=1.0).name == lg.make_rule("MINE", feedback=1.0).name == "mine"
        with pytest.raises(ValueError, match=r"known rules: bptt, .*, mine$"):
            lg.make_rule("other")

    def test_that_cannot_be_loaded(self, points):
        def broken():
            raise ImportError("no such module")

        points(self.point("mine", broken))
        with pytest.raises(ValueError, match="the rule 'mine' of the entry point 'package:rule' cannot be loaded"):
            lg.make_rule("bptt")

    def test_with_a_name_that_is_taken(self, points):
        points(self.point("BPTT", lambda: lg.BPTT))
        with pytest.raises(ValueError, match=r"the rule 'BPTT' .* bears a name that is taken"):
            lg.make_rule("rflo", feedback=1.0, decay=0.5)

    def test_that_make_no_rule(self, points):
        points(self.point("mine", lambda: lambda: "rule"))
        with pytest.raises(ValueError, match=r"the rule 'mine' is a str, not a localgrad.Rule"):
            lg.make_rule("mine")


def test_names_of_presets_have_no_case():
    assert lg.make_rule("RFLO", feedback=1.0, decay=0.5) == lg.RFLO(1.0, 0.5)


def test_keys_tell_rules_apart():
    rules = [lg.BPTT(), lg.TruncatedBPTT(1), lg.TruncatedBPTT(2), lg.RFLO(1.0, 0.5), lg.EProp(), lg.EProp(1.0),
             lg.FeedbackAlignment(1.0), lg.ThreeFactor(1.0), lg.Rule()]  # fmt: skip
    assert len({rule.key for rule in rules}) == len(rules)


def test_blends_at_their_ends_describe_themselves():
    assert lg.Rule(lg.Feedback.blend(0, FEEDBACK)).describe() == "custom: F = A, M = J, all lags"
    assert lg.Rule(lg.Feedback.blend(1, FEEDBACK)).describe() == "custom: F = R, M = J, all lags"
