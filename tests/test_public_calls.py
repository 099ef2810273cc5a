"""Every public function, walked: under JAX's strict promotion, with arguments of odd kinds, inside someone's `jax.jit`.

`public_calls.py` has one call of each; whoever adds a public function adds one there.
"""

import inspect
import itertools
import linecache
import traceback
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_calls import LAYER, MODE, NETWORK, RESULTS, calls, find, public_names
from tiers import some

import localgrad as lg

NAMES = sorted(public_names() - RESULTS)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return calls(tmp_path_factory.mktemp("files"))


def test_there_is_a_call_of_every_public_function_with_all_its_arguments(known):
    assert set(known) == set(NAMES)
    for name, (arguments, options) in known.items():
        signature = inspect.signature(find(name))
        given = signature.bind(*arguments, **options).arguments
        variadic = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        assert set(signature.parameters) - variadic <= set(given), name


# --- strict promotion ------------------------------------------------------------------------------------------------


def in_mixed_precisions(value, precisions):
    """An argument with its numbers as JAX's arrays in float32, NumPy's in float64 and JAX's in float16 in turn."""
    if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return next(precisions)(value)
    if isinstance(value, list) and not isinstance(value[0], lg.Rule):
        return next(precisions)(np.array(value, float))
    if isinstance(value, lg.Mode | lg.Frames):
        return type(value)(*(in_mixed_precisions(x, precisions) for x in value))
    if isinstance(value, lg.Rule | lg.LinearRNN):
        return jax.tree.map(lambda x: x if isinstance(x, int) else next(precisions)(x), value)
    return value


# Each call compiles anew. These go through every engine.
_FAST = ("expected_update", "learn", "learn_mode", "network_update", "spectrum", "fixed_points")
# In half precision times round beyond the duration, and small tolerances to 0.
EXACT = {"save_at", "duration", "tolerance", "precision", "rtol", "atol"}


@pytest.mark.parametrize("name", some(NAMES, _FAST))
def test_strict_promotion_of_the_users_is_not_ours(name, known):
    arguments, options = known[name]
    kinds = (lambda x: jnp.asarray(x, jnp.float32), np.float64, lambda x: jnp.asarray(x, jnp.float16))
    precisions = itertools.cycle(kinds)
    mixed = [in_mixed_precisions(x, precisions) for x in arguments]
    exact = {key: x for key, x in options.items() if key in EXACT}
    named = {key: in_mixed_precisions(x, precisions) for key, x in options.items()} | exact
    with jax.numpy_dtype_promotion("strict"):
        find(name)(*mixed, **named)
    with jax.numpy_dtype_promotion("strict"):
        find(name)(*arguments, **options)


def test_a_leak_of_another_precision_under_strict_promotion():
    leaky = lg.LeakyRNN(*NETWORK.matrices, leak=np.float32(0.5))
    with jax.numpy_dtype_promotion("strict"):
        lg.expected_update(lg.BPTT(), leaky, NETWORK)


# --- arguments of odd kinds ------------------------------------------------------------------------------------------

WITHOUT_UNITS = jax.tree.unflatten(jax.tree.structure(NETWORK), [np.zeros((1, 0)), np.zeros((0, 0)), np.zeros((0, 1))])


class Thing:
    """Nothing that any argument is."""


ODD = {
    "word": "x",
    "decimal": Decimal("0.5"),
    "masked": np.ma.masked_array([[0.5, 0.2]], mask=[[True, False]]),
    "objects": np.array([[0.5, "x"]], dtype=object),
    "thing": Thing(),
    "class": dict,
    "ragged": [1.0, [2.0]],
    "without units": WITHOUT_UNITS,
    "none": None,
    "complex": 0.5 + 0.5j,
    "nan": float("nan"),
    "huge": 10**30,
}
MAY_PASS = {"none", "complex", "nan", "huge"}  # which some arguments are, and some functions check in use
LATER = {"Mode", "Frames"}  # plain tuples, checked where they are used
WORDS = {
    ("sweep", "out"),
    ("sweep", "scheduler"),
    ("train", "checkpoint"),
    ("basins", "store"),
    ("Rule", "name"),
    ("Rule", "key"),
}


def our_sentence(error):
    """Whether an error was raised by localgrad, on purpose, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = "localgrad" in last.filename and linecache.getline(last.filename, last.lineno).strip().startswith("raise")
    one_line = "\n" not in str(error) and len(str(error)) < 400
    return ours and one_line and isinstance(error, ValueError | TypeError | OSError)


def error_of(function):
    """The error that a call ends in, if it does."""
    try:
        function()
    except Exception as error:
        return error
    return None


def places(arguments, options):
    return [*range(len(arguments)), *options]


def with_argument(arguments, options, place, value):
    changed, named = list(arguments), dict(options)
    (changed if isinstance(place, int) else named)[place] = value
    return changed, named


@pytest.mark.parametrize("name", some([name for name in NAMES if name not in LATER], set(NAMES) - LATER - {"sweep"}))
def test_arguments_of_odd_kinds_are_refused_in_one_sentence_of_ours(name, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a word is also the name of a file
    arguments, options = known[name]
    for place in places(arguments, options):
        for kind, value in ODD.items():
            changed, named = with_argument(arguments, options, place, value)
            error = error_of(lambda changed=changed, named=named: find(name)(*changed, **named))
            if error is None:
                assert kind in MAY_PASS or (kind == "word" and (name, place) in WORDS), (name, place, kind)
            else:
                assert our_sentence(error), (name, place, kind, type(error), str(error))


METHODS = {
    "curve.at": (lambda made: made["curve"].at, ([0.05],)),
    "trajectory.at": (lambda made: made["path"].at, ([0.05],)),
    "optimal.at": (lambda made: made["points"][0].at, (0.5,)),
    "silent.at": (lambda made: made["points"][1].at, (0.5,)),
    "optimal.distance": (lambda made: made["points"][0].distance, (MODE,)),
    "trainer.init": (lambda made: made["trainer"].init, (NETWORK,)),
    "trainer.update": (lambda made: made["trainer"].update, (jax.random.key(0), NETWORK)),
    "with_feedback": (lambda made: made["rule"].with_feedback, ([[1.0, 2.0]],)),
    "Feedback.blend": (lambda made: lg.Feedback.blend, (0.5, [[1.0, 2.0]])),
    "Propagator.blend": (lambda made: lg.Propagator.blend, (0.5, 0.5)),
    "with_student_noise": (lambda made: made["task"].with_student_noise, (0.5, 2)),
    "Outcome.words": (lambda made: lg.Outcome.words, ([0, 1],)),
    "Outcome.counts": (lambda made: lg.Outcome.counts, ([0, 1],)),
}


@pytest.fixture(scope="module")
def made(known):
    found = {"curve": "learn", "path": "learn_mode", "trainer": "Trainer", "task": "LinearTask", "rule": "Rule"}
    results = {name: find(of)(*known[of][0], **known[of][1]) for name, of in found.items()}
    return results | {"points": lg.fixed_points(lg.BPTT(), known["fixed_points"][0][1])}


@pytest.mark.parametrize("name", METHODS)
def test_methods_refuse_odd_arguments_too(name, made):
    function, arguments = METHODS[name]
    function(made)(*arguments)
    for place in range(len(arguments)):
        for kind in ("word", "thing", "none", "ragged", "objects"):
            changed, _ = with_argument(arguments, {}, place, ODD[kind])
            error = error_of(lambda changed=changed: function(made)(*changed))
            assert error is not None, (place, kind)
            # What is compiled as a whole answers for what is no array before it is ours.
            compiled = name == "trainer.update" and kind == "objects"
            assert compiled or our_sentence(error), (place, kind, type(error), str(error))


def test_a_step_begins_with_a_state(made):
    with pytest.raises(ValueError, match=r"the state is a LinearRNN, not a TrainingState; .* trainer.init\(student\)"):
        made["trainer"].step(jax.random.key(0), NETWORK)


def test_messages_show_a_value_on_one_short_line():
    from localgrad.checks import in_words

    shown = {
        "0.5": np.array(0.5), "'x'": "x", "None": None, "an array of shape (2, 1, 2)": np.zeros((2, 1, 2)),
        "a masked array of shape (1, 2)": ODD["masked"], "a LinearRNN": NETWORK, "a Rule": lg.BPTT(),
        "a type": dict, "a Decimal": Decimal("0.5"),
    }  # fmt: skip
    assert {words: in_words(value) for words, value in shown.items()} == dict(zip(shown, shown, strict=True))
    assert len(in_words("long " * 100)) == 60


# --- inside jax.jit --------------------------------------------------------------------------------------------------


def traced(value, x):
    """An argument whose numbers are traced."""
    if isinstance(value, lg.LinearRNN | lg.DiagonalSSM | lg.Mode | lg.Frames | lg.Rule):
        return jax.tree.map(lambda number: number if isinstance(number, int) else number + 0 * x, value)
    if isinstance(value, list) and isinstance(value[0], lg.Rule):
        return [traced(rule, x) for rule in value]
    if isinstance(value, float) or (isinstance(value, list) and value):
        return jnp.asarray(value) + 0 * x
    return x


@pytest.mark.parametrize("name", NAMES)
def test_inside_jit_a_function_works_or_says_that_it_cannot(name, known):
    arguments, options = known[name]

    def call(x, place):
        changed, named = with_argument(arguments, options, place, None)
        given = {**dict(enumerate(arguments)), **options}[place]
        (changed if isinstance(place, int) else named)[place] = traced(given, x)
        find(name)(*changed, **named)
        return x

    for place in places(arguments, options):
        error = error_of(lambda place=place: jax.eval_shape(lambda x: call(x, place), 0.5))
        assert error is None or our_sentence(error), (name, place, type(error), str(error))


def test_a_mode_that_oscillates_is_refused_inside_jit_in_one_sentence():
    teacher = lg.Mode(1.0, 1.0, 0.5 + 0.1j)
    for function in (lambda mode: lg.mode_update(lg.BPTT(), mode, teacher), lambda mode: lg.mode_loss(mode, teacher)):
        with pytest.raises(ValueError, match="which JAX does not know while it traces a program; call it outside jit"):
            jax.jit(function)(MODE)


# --- the faults that this was found by -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dynamics", "noise", "to_target"])
def test_a_task_lacks_nothing_that_every_task_has(name):
    parts = {"dynamics": [[0.5]], "noise": [[1.0]], "to_input": None, "noise_to_input": None, "to_target": [[1.0]]}
    with pytest.raises(ValueError, match=rf"{name} \(.\) of the task is None, but every task has one; give a matrix"):
        lg.LinearTask(**parts | {name: None})


def test_a_batch_beyond_the_memory_is_refused_before_it_is_drawn():
    sampled = {"key": jax.random.key(0), "learning_rate": 0.1, "num_steps": 1, "horizon": 1000}
    message = "sequences of 1,000 steps take 16,000 GB of memory, but there are .* give a smaller batch_size or horizon"
    with pytest.raises(ValueError, match=message):
        lg.train(lg.BPTT(), NETWORK, NETWORK, batch_size=10**9, **sampled)


def test_lags_beyond_the_memory_are_refused():
    with pytest.raises(ValueError, match="at most 2147483648"):
        lg.markov_parameters(NETWORK, 10**12)
    wide = lg.LinearRNN(np.zeros((2**10, 1)), [[0.0]], np.zeros((1, 2**10)))
    with pytest.raises(ValueError, match=r"1,000,000 lags take 8,389 GB of memory, .*; ask for fewer lags"):
        lg.markov_parameters(wide, 10**6)


def test_frames_of_another_size_are_refused():
    with pytest.raises(
        ValueError, match=r"the frames have sizes \(1, 3, 1\) .*, but the network \(1, 2, 1\); they must"
    ):
        lg.project_modes(NETWORK, lg.Frames(np.eye(1), np.eye(3), np.eye(1)))
    with pytest.raises(ValueError, match=r"the frame P is an array of shape \(2, 3\); give a square matrix"):
        lg.project_modes(NETWORK, lg.Frames(np.eye(1), np.ones((2, 3)), np.eye(1)))


def test_kinds_are_named_with_their_remedy():
    with pytest.raises(ValueError, match=r"the network is a DiagonalSSM, not a LinearRNN; use LinearRNN\(A, W, B\)"):
        lg.diagonalized(LAYER)
    with pytest.raises(
        ValueError, match=r"the layer is a LinearRNN, not a DiagonalSSM; use DiagonalSSM\(C, poles, B\)"
    ):
        lg.real_blocks(NETWORK)


def test_a_term_that_chooses_by_an_array_of_whole_numbers_names_the_remedy():
    class Chosen(lg.Term):
        units: object

        def __call__(self, matrix):
            return jnp.zeros_like(matrix).at[:, self.units].set(matrix[:, self.units])

    with pytest.raises(ValueError, match=r"term Chosen does not fit .* are a tuple in a field marked equinox.field"):
        lg.expected_update(lg.Rule(Chosen(np.array([0])), "full"), NETWORK, NETWORK)


def test_a_student_of_mixed_precisions_trains_in_the_widest():
    mixed = jax.tree.unflatten(
        jax.tree.structure(NETWORK),
        [x.astype(kind) for x, kind in zip(NETWORK.matrices, ("float16", "float32", "float64"), strict=True)],
    )
    sampled = {"key": jax.random.key(0), "learning_rate": 0.1, "num_steps": 2, "batch_size": 2, "horizon": 3}
    run = lg.train(lg.BPTT(), mixed, NETWORK, **sampled)
    assert {x.dtype.name for x in run.final.matrices} == {"float64"}
