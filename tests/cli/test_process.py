"""The process of a command: environment, output, signals, and workers that end with their parent."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_cli import assert_one_line_error, inject, run  # noqa: F401 (a fixture)

from localgrad.cli import process
from localgrad.cli.base import _describe
from localgrad.cli.rules import rule_names
from localgrad.files import only_writer
from localgrad.rules.presets import known_presets

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
COMMAND = [sys.executable, "-m", "localgrad"]


def run_process(*arguments, **environment):
    found = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=120, check=False, env=found)


# --- environment and output ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "words"), [("cp1252", "analyze --help"), ("latin-1", "derive --help"), ("ascii", "derive rflo")]
)
def test_characters_that_the_output_lacks_are_replaced(encoding, words):
    result = run_process(*words.split(), PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert b"?" in result.stdout


@pytest.mark.slow
def test_settings_of_a_notebook_change_nothing(tmp_path):
    strange = {"MPLBACKEND": "module://nonsense", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "NUMBA_DISABLE_JIT": "1"}
    words = ["basin", "--rule", "bptt", "--teacher", "1,1,0.8", "--grid", "5", "--figure", str(tmp_path / "map.png")]
    result = run_process(*words, **strange, JAX_NUMPY_RANK_PROMOTION="raise", JAX_DEBUG_NANS="1")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "map.png").exists()


def test_an_unexpected_error_names_the_settings_that_may_be_behind_it(monkeypatch):
    monkeypatch.setattr(process, "_given", {"JAX_PLATFORMS": "cuda"})
    assert "JAX_PLATFORMS='cuda'" in _describe(AssertionError())
    assert "JAX_PLATFORMS='cuda'" in _describe(ChildProcessError("a process was killed"))
    assert "bug" not in _describe(AssertionError())
    monkeypatch.setattr(process, "_given", {})
    assert "bug" in _describe(AssertionError())


def test_errors_of_memory_are_a_sentence():
    assert "memory of this machine" in _describe(MemoryError("Unable to allocate 7.28 TiB"))
    assert "memory of this machine" in _describe(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"))


@posix
def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen([*COMMAND, "derive", "bptt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait(60) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_an_output_that_is_full_is_named():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*COMMAND, "derive", "bptt"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert result.returncode == 2
    assert result.stderr.decode().strip() == f"error: standard output: {os.strerror(errno.ENOSPC)}"


@posix
def test_no_home_no_writable_folder_and_no_output(tmp_path):
    (tmp_path / "here").mkdir(mode=0o555)
    bare = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    shell = f"exec {sys.executable} -m localgrad analyze --teacher 1,1,0.8 >&-"
    result = subprocess.run(
        ["sh", "-c", shell], env=bare, cwd=tmp_path / "here", capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("name", ["[run-1].npy", "[b]x[link].npy", "a:x:b.npy"])
def test_file_names_are_printed_as_they_are(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    np.save(name, np.diag([0.5, 0.2]))
    result = run("analyze", "--teacher", name, "--figure", name.replace("npy", "png"))
    assert result.stdout.startswith(f"{name}: 2 hidden units")
    assert f"Figure: {name.replace('npy', 'png')}" in result.stdout
    assert_one_line_error(run("analyze", "--teacher", "no" + name), "no" + name)


def test_the_report_is_printed_as_it_is(inject, tmp_path):  # noqa: F811
    from demo_experiment import DEMO

    inject(DEMO)
    folder = tmp_path / "[run-1]:x:"
    assert f"Report: {folder / 'report.html'}\n" in run("reproduce", "--out", folder).stdout
    assert f"an older report are in {folder / 'previous-report'}" in run("reproduce", "--out", folder).stdout


def test_help_reads_the_list_of_rules():
    assert rule_names() == list(known_presets())
    for command in ("derive", "analyze", "basin", "train"):
        shown = "".join(run(command, "--help").stdout.replace("│", "").split())
        assert all(name in shown for name in rule_names())
        assert "RULES" not in shown


# --- how it ends -----------------------------------------------------------------------------------------------------


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGINT, 130, b"error: interrupted; nothing was written\n"),
        (signal.SIGTERM, 143, b"error: ended by SIGTERM; nothing was written\n"),
    ],
)
def test_a_signal_leaves_nothing_unfinished(tmp_path, number, status, words):
    folder = tmp_path / "out"
    command = subprocess.Popen([*COMMAND, "reproduce", "double-limit", "--out", str(folder)], stderr=subprocess.PIPE)
    with command:
        wait_for(lambda: list(folder.glob(".unfinished-*")))
        command.send_signal(number)
        assert command.stderr.read() == words
        assert command.wait(60) == status
    assert not folder.exists()


@posix
def test_a_signal_that_python_ignores_comes_again():
    program = """
import sys, time
from localgrad.cli.process import prepare_process

class Dying:
    def __del__(self):
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # here the interrupt is raised, and ignored

prepare_process()
try:
    Dying()
    time.sleep(60)
except KeyboardInterrupt as interruption:
    print(interruption)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    assert (found.stdout, found.stderr) == (b"interrupted; nothing was written\n", b"")


@posix
def test_a_signal_waits_for_the_end_of_an_import(tmp_path):
    (tmp_path / "loading.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nloaded = 1\n")
    program = """
import sys, time
from localgrad.cli.process import prepare_process
prepare_process()
try:
    import loading
    time.sleep(60)
except KeyboardInterrupt as interruption:
    print(sys.modules["loading"].loaded, interruption, interruption.status)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=30, check=True, env=environment
    )
    assert (found.stdout, found.stderr) == (b"1 ended by SIGTERM; nothing was written 143\n", b"")


WORKER = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from localgrad.files import only_writer
from localgrad.reproduction.pool import _become_worker

def work(path):
    with only_writer(path, "mark"):
        Path(path).touch()
        time.sleep(100)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ProcessPoolExecutor(1, mp_context=context, initializer=_become_worker).submit(work, sys.argv[1]).result()
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, number):
    (tmp_path / "script.py").write_text(WORKER)
    mark = tmp_path / "mark"

    def worker_has_ended():
        try:
            with only_writer(mark, "mark"):
                return True
        except ValueError:
            return False

    command = [sys.executable, tmp_path / "script.py", mark]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        wait_for(mark.exists)
        assert not worker_has_ended()
        parent.send_signal(number)
    wait_for(worker_has_ended, 10)
