"""What a rule asks of a chip: against the traces that updates use, XLA's own counts, and what is known by hand."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import plain_cells
import pytest
from tiers import some

import localgrad as lg
from localgrad.cells.running import network_step
from localgrad.diagnostics.traces import synapses, traces_of
from localgrad.updates import through_time, through_time_online, through_time_steps
from localgrad.updates.through_time import carrying_of

N, INPUT, OUTPUT = 5, 2, 2
RNG = np.random.default_rng(0)
R = RNG.normal(size=(OUTPUT, N))


def cell(kind, n=N, inputs=INPUT, **options):
    options = plain_cells.OWN.get(kind, {}) | options
    k = plain_cells.DRIVES.get(kind, 1)
    lead = () if k == 1 else (k,)
    W = None if kind in ("LRU", "S5", "Selective") else RNG.normal(size=(*lead, n, n))
    return getattr(lg.cells, kind)(W, RNG.normal(size=(*lead, n, inputs)), None, **options)


def network(*layers, feedback=None):
    return lg.Network(list(layers), lg.Readout(RNG.normal(size=(OUTPUT, layers[-1].width))), feedback)


def fixed(layer):
    return RNG.normal(size=(OUTPUT, layer.width))


CASES = [(f"{kind}-internal", (kind, "internal")) for kind in plain_cells.KINDS[1:]]
CASES += [(f"{kind}-diagonal", (kind, "diagonal")) for kind in ("Linear", "LSTM", "AdaptiveLIF")]


class TestTraces:
    """Against the arrays that online updates carry: which of them matter, and which are the same at a source."""

    @pytest.mark.parametrize("case", some(CASES, ("AdaptiveLIF-internal", "Linear-diagonal")))
    def test_numbers_kept_are_those_that_change_the_update(self, case):
        (kind, propagator), steps = case, 5
        apart = {name: x + 0.1 * RNG.normal(size=N) for name, x in plain_cells.OWN.get(kind, {}).items()}
        layer = cell(kind, **(apart if kind in ("LRU", "S5", "Selective") else {}))
        carrying = carrying_of(lg.Rule("symmetric", propagator), steps)
        inputs = jnp.asarray(RNG.normal(size=(steps, 1, INPUT)))
        signals = jnp.asarray(RNG.normal(size=(steps, 1, layer.width)))
        places, used = through_time_steps, through_time_online
        net = network(layer)

        @jax.jit
        def run(mask):
            """The update by its weights and the traces of all steps, where only what `mask` holds is carried over."""
            first = used._untaught(net, through_time_steps.Sequences(inputs, inputs, inputs[..., 0]), 0)
            states, traces, total, seen = first.states, first.traces[0], 0.0, []
            for x, signal in zip(inputs, signals, strict=True):
                (step,), _ = network_step(net, states, x)
                at, states = places.derivatives(layer, step), (step.after,)
                carried = traces._replace(weights=traces.weights * mask[:, :, None, None])
                traces = used._traced(layer, carried, step, at, carrying)
                credit = places.state_credit(signal, at)
                total = total + jnp.einsum("bin,biknq->knq", credit, traces.weights)
                seen.append(traces.weights)
            return total, jnp.stack(seen)

        d, k = layer.states, len(layer.weights().B)
        whole, seen = run(jnp.ones((d, k)))
        there = np.concatenate([x for x in synapses(layer)[:2] if x is not None], axis=2)
        kept, shared = np.zeros(k, int), np.zeros(k, int)
        for i, j in np.ndindex(d, k):
            without = run(jnp.ones((d, k)).at[i, j].set(0))[0]
            if np.any(np.abs(np.asarray(without - whole))[..., :-1] * there > 1e-12):
                kept[j] += 1
                shared[j] += bool(np.ptp(np.asarray(seen)[:, 0, i, j, :, :-1], axis=1).max() < 1e-12)
        found = traces_of(carrying.propagator, layer)
        np.testing.assert_array_equal(found.kept, kept)
        np.testing.assert_array_equal(found.shared, shared)


FEW_BY_HAND = ("AdaptiveLIF-eprop-bellec", "LeakyRate-rflo")


class TestCounts:
    HAND = (
        ("LIF", lg.BellecEProp(R), 0, 1),  # Bellec et al.: a filtered spike train a presynaptic unit
        ("AdaptiveLIF", lg.BellecEProp(R), 1, 1),  # and of adaptive units one number more a synapse
        ("LeakyRate", lg.RFLO(R, 0.5), 1, 0),  # φ′ stands inside the trace
        ("LeakyPotential", lg.RFLO(R, 0.5), 0, 1),  # and outside
        ("LeakyRate", lg.ThreeFactor(R), 0, 0),
        ("LSTM", lg.BellecEProp(R), 0.75, 0),  # the output gate leaves no trace in the cell's memory
        ("LSTM", lg.EProp(R), 2, 0),
        ("LRU", lg.BPTT(), 2, 0),  # a complex number for a real weight
    )

    @pytest.mark.parametrize("case", some([(f"{x[0]}-{x[1].key}", x) for x in HAND], FEW_BY_HAND))
    def test_numbers_known_by_hand(self, case):
        kind, rule, at_synapse, at_source = case
        (found,) = lg.locality(rule, network(cell(kind))).layers
        assert (found.a_synapse, found.a_source) == (at_synapse, at_source)

    def test_decays_that_differ_are_kept_at_synapses(self):
        decays = np.linspace(0.5, 0.9, N)
        (found,) = lg.locality(lg.BellecEProp(R), network(cell("LIF", decay=decays))).layers
        assert (found.a_synapse, found.a_source) == (1, 0)
        (found,) = lg.locality(lg.RFLO(R, decays), network(cell("LIF"))).layers
        assert (found.a_synapse, found.a_source) == (1, 0)

    def test_masked_synapses_and_weights_that_do_not_learn_cost_nothing(self):
        mask = np.eye(N)
        full, sparse, still = (
            lg.locality(lg.EProp(R), network(cell("LeakyRate", **options)))
            for options in ({}, {"mask": mask}, {"learns": ("B",)})
        )
        assert [x.layers[0].synapses for x in (full, sparse, still)] == [
            N * N + N * INPUT,
            N + N * INPUT,
            N * N + N * INPUT,
        ]
        assert full.ways[0].kept - sparse.ways[0].kept == N * N - N
        assert full.ways[0].kept - still.ways[0].kept == N * N

    def test_growth_with_units_steps_and_layers(self):
        rule, net = lg.EProp(R), network(cell("LeakyRate"))
        traces, recording = lg.locality(rule, net).ways
        assert traces.growth["numbers"] == {"units": 2.0, "steps": 0.0, "layers": 1.0}
        assert recording.growth["numbers"] == {"units": 1.0, "steps": 1.0, "layers": 1.0}
        sensitivities = lg.locality(lg.BPTT(), net).ways[0]
        assert sensitivities.growth["numbers"] == {"units": 3.0, "steps": 0.0, "layers": 2.0}
        assert sensitivities.growth["operations"]["units"] == 4.0
        assert recording.numbers(10) == 10 * recording.a_step
        assert lg.locality(lg.BellecEProp(R), network(cell("LIF"))).ways[0].growth["numbers"]["units"] == 1.0

    @pytest.mark.parametrize("kind", some(["LeakyRate", "GRU", "LRU"], ["LeakyRate"]))
    def test_operations_are_of_the_order_that_xla_counts(self, kind):
        """Of a step on one sequence: a multiply-add is two of XLA's; ours leaves out what units do by themselves."""
        net = network(cell(kind, n=64, inputs=64))
        rule = lg.EProp(fixed(net.layers[0]))
        found = lg.locality(rule, net)
        data = through_time.sequences_of(net, np.ones((1, 1, 64)), np.ones((1, 1, OUTPUT)), "mse", None)
        lowered = eqx.filter_jit(through_time_online.trace_update).lower(net, carrying_of(rule, 1), data, "mse")
        counted = lowered.compile().compiled.cost_analysis()["flops"]
        assert 0.5 < counted / (2 * (found.ways[0].operations + found.running)) < 3

    def test_real_time_recurrent_learning_carries_what_is_counted(self):
        """Of one layer: the derivatives of all states by all weights, the states, and nothing else."""
        layer = cell("LeakyRate")
        kept = lg.locality(lg.BPTT(), network(layer)).ways[0].kept
        assert kept == (N * N + N * INPUT) * N + N


class TestWhatIsSent:
    def test_a_local_rule_hears_the_error_over_weights_of_its_own(self):
        net = network(cell("LIF"))
        found = lg.locality(lg.BellecEProp(R).with_delay(3), net)
        assert found.is_local
        assert [(x.numbers, x.when) for x in found.sent] == [(OUTPUT, "at every step, 3 steps late")]
        assert found.ways[0].kept - lg.locality(lg.BellecEProp(R), net).ways[0].kept == 3 * OUTPUT
        assert not lg.locality(lg.BellecEProp(), net).is_local  # by the readout's own weights, carried back

    def test_rules_that_are_not_local(self):
        net = network(cell("LeakyRate"))
        bptt, few = lg.locality(lg.BPTT(), net), lg.locality(lg.TruncatedBPTT(3), net)
        assert not bptt.is_local
        assert not few.is_local
        assert [way.name for way in few.ways] == ["backward from a recording"]
        assert few.sent[-1].when == "after the sequence, backward in time"

    def test_credit_between_layers_is_sent_unless_a_layer_hears_the_error_itself(self):
        lower, upper = cell("LeakyRate"), lg.cells.LIF(np.ones((N, N)), np.ones((N, N)), None)
        rule = lg.BellecEProp(R)
        assert not lg.locality(rule, network(lower, upper)).is_local
        assert lg.locality(rule, network(lower, upper, feedback=[R])).is_local

    def test_it_prints_as_a_short_table(self):
        printed = str(lg.locality(lg.BellecEProp(R), network(cell("AdaptiveLIF"))))
        assert len(printed.splitlines()) == 9
        assert "forward by traces: numbers" in printed
        assert max(map(len, printed.splitlines())) <= 120

    def test_a_rule_must_fit(self):
        with pytest.raises(ValueError, match="feedback has shape"):
            lg.locality(lg.RFLO(np.ones((1, 9)), 0.5), network(cell("LIF")))
        with pytest.raises(ValueError, match="the network is a LIF, not a Network"):
            lg.locality(lg.RFLO(R, 0.5), cell("LIF"))


@pytest.mark.slow
def test_the_page_prints_its_tables():
    page = (Path(__file__).parents[2] / "docs" / "locality.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    promised = "".join(re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    printed = []
    exec(program, {"print": lambda *values: printed.append(" ".join(map(str, values)).rstrip() + "\n")})
    assert "".join(printed) == promised
