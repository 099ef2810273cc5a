"""The command line: one JSON document or a short text on standard output, one line for an error, exit statuses."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from demo_experiment import DEMO, FAILING
from typer.testing import CliRunner

from localgrad import Mode, __version__, aligned_network, expected_loss, load_run, load_teacher
from localgrad.cli.commands import app
from localgrad.reproduction import catalogue
from localgrad.reproduction.paper import STATEMENTS
from localgrad.reproduction.verdicts import Statement
from localgrad.rules.presets import PRESETS

COMMANDS = ("reproduce", "derive", "analyze", "basin", "train")


def run(*arguments, columns=80):
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(app, [str(argument) for argument in arguments])


def run_process(*arguments):
    command = [sys.executable, "-m", "localgrad", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_one_line_error(result, *words, status=2):
    exit_code = getattr(result, "exit_code", getattr(result, "returncode", None))
    assert exit_code == status
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line


@pytest.fixture
def inject(monkeypatch):
    """Make `localgrad reproduce demo` run the given experiment."""

    def put(experiment):
        monkeypatch.setattr(catalogue, "NAMES", ("demo",))
        monkeypatch.setattr(catalogue, "load", lambda name: experiment)

    return put


def broken(error):
    def compute(parameters):
        raise error

    return replace(DEMO, compute=compute)


# --- reproduce -------------------------------------------------------------------------------------------------------


def test_reproduce_prints_claims_and_report(inject, tmp_path):
    inject(DEMO)
    result = run("reproduce", "--quick", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert f"All 2 claims hold. Report: {tmp_path / 'out' / 'report.html'}" in result.stdout
    assert f"The paper: {len(STATEMENTS)} not tested." in result.stdout
    assert "demo.sum" not in result.stdout  # it holds
    assert result.stderr.startswith("[1/1] demo: ")
    assert (tmp_path / "out" / "report.html").read_text().count("--quick") >= 1


def test_failing_claim_gives_status_1_and_is_named(inject, tmp_path):
    inject(FAILING)
    result = run("reproduce", "demo", "--out", tmp_path)
    assert result.exit_code == 1
    assert "demo.fails" in result.stdout
    assert "FAILS" in result.stdout
    assert "2 of 3 claims hold" in result.stdout


def test_verdicts_follow_and_do_not_change_the_status(inject, tmp_path, monkeypatch):
    """What the paper says and is not found is a verdict; only a claim of ours that fails is an error."""
    told = Statement("powers", "Powers vanish [red]", "a topic", ("demo.slow",), "After {demo.steps:.0f} steps.")
    monkeypatch.setattr("localgrad.reproduction.section.STATEMENTS", (told,))
    inject(DEMO)
    result = run("reproduce", "--out", tmp_path)
    assert result.exit_code == 0
    assert "Powers vanish [red]" in result.stdout
    assert "After 20 steps." in result.stdout
    assert "The paper: 1 not reproduced." in result.stdout
    [item] = json.loads(run("reproduce", "--json", "--out", tmp_path).stdout)["paper"]
    assert (item["verdict"], item["claims"], item["checks"]) == ("not reproduced", [], ["demo.slow"])


@pytest.mark.parametrize(("experiment", "status"), [(DEMO, 0), (FAILING, 1)])
def test_json_is_one_document_and_nothing_else(inject, tmp_path, experiment, status):
    def noisy(parameters):
        print("an experiment that prints")
        return experiment.compute(parameters)

    inject(replace(experiment, compute=noisy))
    result = run("reproduce", "--json", "--out", tmp_path)
    assert result.exit_code == status
    document = json.loads(result.stdout)
    assert document["report"] == str(tmp_path / "report.html")
    keys = ["id", "experiment", "source", "statement", "expected", "measured", "holds"]
    assert all(list(claim) == keys for claim in document["claims"])
    assert [claim["holds"] for claim in document["claims"]] == [True, True, False][: len(document["claims"])]
    assert {item["verdict"] for item in document["paper"]} == {"not tested"}
    assert all(list(item)[:4] == ["statement", "verdict", "claims", "why"] for item in document["paper"])
    stored = json.loads((tmp_path / "claims.json").read_text())
    assert (stored["claims"], stored["paper"]) == (document["claims"], document["paper"])


@pytest.mark.slow
def test_jobs_change_nothing_but_the_order_of_progress(tmp_path):
    """In processes of their own too; the sections stay in report order, the claims the same to the last digit."""
    names = ("rates", "rule-cube")
    found = {}
    for jobs in (1, 2):
        result = run_process("reproduce", *names, "--quick", "--json", "--jobs", jobs, "--out", tmp_path / str(jobs))
        assert result.returncode == 0, result.stderr
        assert {line.split()[1].rstrip(":") for line in result.stderr.splitlines()} == set(names)
        found[jobs] = json.loads(result.stdout)["claims"]
    assert found[1] == found[2]
    assert list(dict.fromkeys(claim["experiment"] for claim in found[2])) == list(names)


@pytest.mark.parametrize(
    ("module", "text", "message"),
    [
        pytest.param("tvb_data", "", "tvb-data, which is not installed", id="missing-package", marks=pytest.mark.slow),
        # Python runs this module at every start; only the workers are to die.
        pytest.param(
            "sitecustomize",
            "import os, sys\nif 'spawn_main' in ' '.join(sys.orig_argv): os._exit(1)",
            "a process was killed, as happens where memory runs out; try fewer jobs (--jobs 1)",
            id="killed-process",
        ),
    ],
)
def test_an_error_in_a_process_is_one_line(tmp_path, monkeypatch, module, text, message):
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run_process("reproduce", "connectome", "rule-cube", "--quick", "--jobs", 2, "--out", tmp_path / "out")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "out").exists()


def test_unknown_experiments_list_the_known(tmp_path):
    result = run("reproduce", "rates", "nonsense", "--out", tmp_path / "out")
    assert_one_line_error(result, "unknown experiment nonsense", *catalogue.NAMES)
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_found_before_computing(inject, tmp_path):
    inject(broken(AssertionError("computed")))
    (tmp_path / "file").write_text("")
    assert_one_line_error(run("reproduce", "--out", tmp_path / "file" / "out"), "cannot write", "file/out", "another")


def test_interrupt_leaves_nothing(inject, tmp_path):
    inject(broken(KeyboardInterrupt()))
    assert_one_line_error(run("reproduce", "--out", tmp_path / "out"), "interrupted", status=130)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("horizon must be\nat least 1; got 0"), ["error: horizon must be at least 1; got 0"]),
        (FileNotFoundError(2, "No such file or directory", "teacher.npz"), ["teacher.npz: No such file"]),
        (ModuleNotFoundError("No module named 'tvb_data'", name="tvb_data"), ["'tvb_data' is not installed", "pip"]),
        (ZeroDivisionError("division by zero"), ["ZeroDivisionError", "bug", "--debug"]),
    ],
)
def test_errors_are_one_line_unless_debugging(inject, tmp_path, error, words):
    inject(broken(error))
    assert_one_line_error(run("reproduce", "--json", "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()
    assert run("--debug", "reproduce", "--out", tmp_path / "out").exception is error


def test_names_are_run_once_in_report_order():
    assert catalogue.select(["rates", "fixed_points", "rates"]) == ["fixed-points", "rates"]
    assert catalogue.select([]) == catalogue.select(None) == list(catalogue.NAMES)


def test_hyphens_and_underscores_are_one(monkeypatch):
    monkeypatch.setattr(catalogue, "NAMES", ("memory_cost", "memory-gain"))
    assert catalogue.select(["memory-cost", "memory_gain"]) == catalogue.select() == ["memory_cost", "memory-gain"]
    with pytest.raises(ValueError, match="unknown experiment memory_loss; known experiments: memory_cost, memory-gain"):
        catalogue.select(["memory_loss"])


def test_load_names_the_known():
    with pytest.raises(ValueError, match=r"unknown experiment x; known experiments: equivalence, .*connectome"):
        catalogue.load("x")


# --- derive ----------------------------------------------------------------------------------------------------------


def test_derive_prints_text_latex_or_json():
    text, latex, document = run("derive", "rflo"), run("derive", "rflo", "--latex"), run("derive", "rflo", "--json")
    assert text.exit_code == latex.exit_code == document.exit_code == 0
    assert "\\frac" in latex.stdout
    assert isinstance(json.loads(document.stdout), dict)
    assert text.stdout != latex.stdout


def test_derive_takes_lags():
    assert run("derive", "tbptt", "--lags", 2).stdout != run("derive", "tbptt").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["unknown rule 'nonsense'", *PRESETS]),
        (["tbptt", "--lags", 0], ["lags", "at least 1", "0"]),
        (["tbptt", "--lags", 100], ["--lags 100", "at most 32"]),
        (["rflo", "--lags", 2], ["lags", "rflo"]),
        (["rflo", "--latex", "--json"], ["--latex", "--json"]),
    ],
)
def test_derive_refuses_in_one_line(arguments, words):
    assert_one_line_error(run("derive", *arguments), *words)


# --- train -----------------------------------------------------------------------------------------------------------

SMALL_RUN = ["--teacher", "modes:0.6,0.3", "--rule", "rflo", "--decay", "0.5", "--hidden", "3"]
SMALL_RUN += ["--batch", "2", "--horizon", "4", "--steps", "4"]


def test_train_writes_weights_and_a_figure(tmp_path):
    out, figure = tmp_path / "out.npz", tmp_path / "loss.svg"
    result = run("train", *SMALL_RUN, "--out", out, "--figure", figure, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert (document["out"], document["figure"], document["checkpoint"]) == (str(out), str(figure), None)
    assert document["student_sizes"] == {"output": 2, "hidden": 3, "input": 2}
    [seed] = document["seeds"]
    assert seed["outcome"] == "unfinished"
    assert seed["diverged_at"] is None
    assert figure.read_text().startswith("<?xml")
    trained, teacher = load_teacher(out), aligned_network(Mode([1.0, 1.0], [1.0, 1.0], [0.6, 0.3]))
    assert seed["final_loss"] == pytest.approx(float(expected_loss(trained, teacher, horizon=4)), rel=1e-5)  # float32


def test_train_goes_on_from_its_checkpoint(tmp_path):
    checkpoint, out = ("--checkpoint", tmp_path / "run.npz"), ("--out", tmp_path / "out.npz")
    assert run("train", *SMALL_RUN, *checkpoint, "--steps", 2).exit_code == 0
    assert run("train", *SMALL_RUN, *checkpoint, *out).exit_code == 0
    resumed = out[1].read_bytes()
    result = run("train", *SMALL_RUN, *out)
    assert "unfinished 1" in result.stdout
    assert out[1].read_bytes() == resumed
    assert_one_line_error(run("train", *SMALL_RUN, *checkpoint, "--seed", 1), "run.npz", "other settings")


def test_an_interrupted_training_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("localgrad.learning.training_loop._take_steps", interrupt)
    path = tmp_path / "run.npz"
    result = run("train", *SMALL_RUN, "--checkpoint", path)
    assert_one_line_error(result, "interrupted; the same command goes on from", str(path), status=130)
    assert_one_line_error(run("train", *SMALL_RUN), "interrupted; nothing was written", status=130)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("--rule eprop-bellec --model leaky --leak 0.3", "LeakyRNN"),
        ("--rule rflo --decay 0.4 --model layer --poles lru", "DiagonalSSM"),
    ],
)
def test_train_takes_other_models(options, kind, tmp_path):
    out = tmp_path / "run.npz"
    words = [*SMALL_RUN[:2], *SMALL_RUN[6:], *options.split(), "--out", out, "--json"]
    document = json.loads(run("train", *words).stdout)
    assert document["model"] == kind
    found = load_run(out)
    assert type(found.final).__name__ == kind
    assert float(found.final_loss[0]) == pytest.approx(document["seeds"][0]["final_loss"])
    assert_one_line_error(run("train", *SMALL_RUN, "--teacher", out), "teacher file", "W")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--model cell", "is unknown; give network, leaky or layer"),
        ("--leak 0.2", "--leak 0.2 is for --model leaky"),
        ("--model leaky", "needs --leak"),
        ("--model leaky --leak 2", "leak must lie in (0, 1]"),
        ("--poles lru", "--poles lru is for --model layer"),
        ("--model layer --poles cosh", "poles of a layer must be"),
    ],
)
def test_train_refuses_models(options, words):
    assert_one_line_error(run("train", *SMALL_RUN, *options.split()), words)


def test_train_takes_a_task(tmp_path):
    path = tmp_path / "task.toml"
    path.write_text('kind = "closed_loop"\nregulate = [[1, 1]]\nplant = {step = 0.2, damping = 1, stiffness = 1}')
    few = ["--batch", "2", "--horizon", "4", "--steps", "2", "--json", "--task", path]
    result = run("train", "--rule", "bptt", "--through-plant", *few)
    document = json.loads(result.stdout)
    assert document["rule"].startswith("BPTT through the plant")
    assert (document["task"], document["task_sizes"]) == (str(path), {"output": 1, "state": 2, "input": 2})
    path.write_text('kind = "integrator"\nleak = 2.0')
    assert_one_line_error(run("train", "--rule", "bptt", "--task", path), "line 2: leak must be one number")
    assert_one_line_error(run("train", "--rule", "bptt"), "nothing to learn from; give exactly one")
    assert_one_line_error(run("train", "--rule", "bptt", "--task", path, "--symmetrize"), "for a teacher's matrix")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--teacher nowhere", "neither a file nor a kind of teacher"),
        ("--teacher nowhere.npz", "does not exist"),
        ("--teacher random:1,2", "three sizes of at least 1"),
        ("--teacher random:1,x,2", "not a number"),
        ("--teacher random:1,1,1 --spectral-radius 1.5", "--spectral-radius 1.5 must lie in [0, 1)"),
        ("--teacher modes:0.5,1", "mode outside (-1, 1)"),
        ("--teacher modes:0.5 --spectral-radius 0.9", "leave it out"),
        ("--rule nonsense", "unknown rule 'nonsense'"),
        ("--rule bptt", "leave out decay"),
        ("--rule bptt --feedback-scale 1", "--feedback-scale 1.0 is not a parameter of bptt"),
        ("--feedback-scale 0", "--feedback-scale must be a finite number other than 0"),
        ("--scale -1", "--scale must be a positive finite number"),
        ("--learning-rate nan", "learning_rate must be a positive finite number"),
        ("--method rtrl", "method must be 'correlation'"),
        ("--loss last", "loss must be 'final' or 'sequence'"),
        ("--out weights.txt", "--out 'weights.txt' must end in .npz"),
        ("--figure loss.pdf", "must end in .png or .svg"),
        ("--figure nowhere/loss.png", "folder that does not exist"),
        ("--checkpoint x.npz --out x.npz", "--out 'x.npz' would overwrite the file of --checkpoint"),
        ("--out .", "must end in .npz"),
        ("--steps 1000000000000000", "the losses of 1 × 1,000,000,000,000,000 steps take 4,000,000 GB of memory"),
        ("--seed 99999999999999999999", "--seed 99999999999999999999 must be below 2**63"),
        ("--seeds 1000000000000", "lower --hidden or --seeds"),
        ("--hidden 100000000", "100,000,000 hidden units, take 40,000,00"),
        ("--teacher random:2,100000000,2", "give smaller sizes"),
        ("--teacher random:2,4,2 --batch 10000000 --horizon 10000000", "lower --batch or --horizon"),
        ("--rule TBPTT --lags -1", "--lags -1 must be at least 1"),
        ("--out folder.npz", "--out 'folder.npz' is a folder"),
        ("--figure folder.png", "--figure 'folder.png' is a folder"),
        ("--teacher mine.npz --out mine.npz", "--out 'mine.npz' would overwrite the file of --teacher"),
        ("--task integrator", "both --teacher and --task are given; give exactly one"),
        ("--through-plant", "--through-plant is not a parameter of rflo"),
    ],
)
def test_train_refuses_bad_words(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "mine.npz").touch()
    assert_one_line_error(run("train", *SMALL_RUN, *options.split()), words)


# --- help and the process as a whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"localgrad {command}" in result.stdout  # an example


def test_help_names_all_rules_and_experiments():
    rules, names = (run(command, "--help", columns=300).stdout for command in ("derive", "reproduce"))
    assert all(rule in rules for rule in PRESETS)
    assert all(name in names for name in catalogue.NAMES)


def test_version():
    assert run("--version").stdout == f"localgrad {__version__}\n"


def test_help_imports_nothing_heavy():
    heavy = {"jax", "numpy", "scipy", "sympy", "numba", "xarray", "matplotlib", "equinox"}
    program = f"import localgrad.cli, sys; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "[]\n"


def test_process_help():
    result = run_process("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)
    assert result.stderr == ""


def test_process_refuses_bad_names():
    assert_one_line_error(run_process("reproduce", "nonsense"), "nonsense", "known experiments")
    assert run_process("nonsense").returncode == 2
    assert run_process("reproduce", "--nonsense").returncode == 2


def test_process_refuses_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_line_error(run_process("reproduce", "rates", "--out", tmp_path / "file" / "out"), "cannot write")
