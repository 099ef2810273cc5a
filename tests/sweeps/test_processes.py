"""Real processes, really killed: whatever ends, resuming gives the store of an undisturbed sweep, byte for byte."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sweep_cases import MODES, changed, data_files

import localgrad as lg
from localgrad.sweeps import pool
from localgrad.sweeps.kinds.modes import ModesKind
from localgrad.sweeps.provenance import FLAGS, flags_of_workers, versions

DOCUMENT = """
chunk = 1000
kind = "modes"
[run]
a = {normal = [0.0, 1.0]}
b = {normal = [0.0, 1.0]}
w = {uniform = [-0.9, 0.9]}
teacher_w = {uniform = [-0.9, 0.9]}
feedback = 1.0
duration = 500.0
[axes]
rule = ["bptt", {label = "fast", rule = "rflo", decay = 0.1}, {label = "slow", rule = "rflo", decay = 0.9}]
scale = [0.3, 1.0]
seed = 20000
"""


NETWORKS = """
kind = "flow"
[run]
rule = "rflo"
decay = 0.5
task = {random = [2, 3, 2]}
hidden = 4
duration = 50.0
[axes]
scale = [0.3, 0.6]
seed = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a sweep in a file, and its store as one undisturbed process computes it."""
    path = tmp_path_factory.mktemp("sweep")
    (path / "sweep.toml").write_text(DOCUMENT)
    lg.sweep(path / "sweep.toml", out=path / "whole.zarr", workers=0)
    return path


def start(*words, cwd, **options):
    return subprocess.Popen(
        [sys.executable, *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def receipts(store):
    return list((store / ".localgrad/chunks").glob("*.json"))


def descendants(pid):
    """The processes of a session, which all that it starts belong to."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(path.name))
    return found


def computing(session):
    """The workers of a local pool: its processes that were spawned to compute."""
    return [pid for pid in descendants(session) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


KILLER = textwrap.dedent(
    """
    import json, os, pathlib, random, signal, sys, time, warnings
    import localgrad as lg
    from localgrad.sweeps.sweep import sweep
    document = json.loads(sys.argv[1])
    os.fsync = lambda descriptor: None  # as in conftest.py
    sweep(document, out="warm.zarr", workers=0)  # so that its children, which begin as it is now, compute at once
    started = time.perf_counter()
    sweep(document, out="whole.zarr", workers=0)
    usual, rng = time.perf_counter() - started, random.Random(0)
    kills = stores = midway = 0
    while kills < 25:
        out, finished = pathlib.Path(f"{stores}.zarr"), False
        while not finished:
            child = os.fork()
            if child == 0:
                warnings.simplefilter("ignore")
                sweep(document, out=out, workers=0)
                os._exit(0)
            if kills < 25:
                time.sleep(rng.uniform(0.0, 0.6 * usual))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            finished = not os.WIFSIGNALED(status)
            assert not finished or os.WEXITSTATUS(status) == 0
            kills += not finished
            midway += not finished and 0 < len(list((out / ".localgrad/chunks").glob("*.json"))) < 24
        stores += 1
    print(kills, stores, midway)
    """
)


@pytest.mark.slow
def test_the_main_process_is_killed_at_random_moments(tmp_path):
    """At least 25 times, in the midst of computing, writing, laying out; each time another process goes on."""
    document = changed(MODES, chunk=3)
    program = start("-c", KILLER, json.dumps(document), cwd=tmp_path)
    output, _ = program.communicate(timeout=300)
    assert program.returncode == 0, output
    kills, stores, midway = map(int, output.split()[-3:])
    assert kills >= 25
    assert midway >= 5  # most moments lie between the first chunk and the last
    for number in range(stores):
        assert data_files(tmp_path / f"{number}.zarr") == data_files(tmp_path / "whole.zarr")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes of a session from /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_sweep_on_processes_is_ended_and_goes_on(number, folder, tmp_path):
    """First one of its workers is killed, and another takes its place; then it is ended, and its workers with it."""
    out = tmp_path / "runs.zarr"
    words = ("-m", "localgrad", "sweep", str(folder / "sweep.toml"), "--out", str(out), "--workers", "2")
    program = start(*words, cwd=tmp_path, start_new_session=True)
    wait_for(lambda: len(receipts(out)) > 2 or program.poll() is not None)
    os.kill(max(computing(program.pid)), signal.SIGKILL)
    there = len(receipts(out))
    wait_for(lambda: len(receipts(out)) > there + 4 or program.poll() is not None)
    if number == signal.SIGINT:  # as a terminal sends it, to all
        os.killpg(program.pid, number)
    else:
        os.kill(program.pid, number)
    output, _ = program.communicate(timeout=60)
    assert program.returncode in (-number, 128 + number), output
    if number == signal.SIGINT:
        assert "the same command goes on" in output
        assert "Traceback" not in output, output  # also not of the worker that was starting anew
    wait_for(lambda: not descendants(program.pid), seconds=20)
    assert len(receipts(out)) < 120
    lg.sweep(folder / "sweep.toml", out=out, workers=0)
    assert data_files(out) == data_files(folder / "whole.zarr")


@pytest.mark.slow
def test_workers_started_by_hand_one_of_which_is_killed(folder, tmp_path):
    """A scheduler and two workers on the loopback; the results are those of one process."""
    file, out = tmp_path / "scheduler.json", tmp_path / "runs.zarr"
    quiet = {
        "cwd": tmp_path,
        "env": os.environ | {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical", FLAGS: flags_of_workers()},
    }
    scheduler = start("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                      "--scheduler-file", str(file), **quiet)  # fmt: skip
    started = [scheduler]
    try:
        wait_for(file.exists)
        by_hand = ("-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
        started += [start(*by_hand, "--no-dashboard", "--host", "127.0.0.1", **quiet) for _ in range(2)]
        address = json.loads(file.read_text())["address"]
        words = ("-m", "localgrad", "sweep", str(folder / "sweep.toml"), "--out", str(out), "--scheduler", address)
        program = start(*words, cwd=tmp_path)
        wait_for(lambda: len(receipts(out)) > 2 or program.poll() is not None)
        started[-1].kill()
        output, _ = program.communicate(timeout=120)
        assert program.returncode == 0, output
        assert data_files(out) == data_files(folder / "whole.zarr")
        (tmp_path / "flow.toml").write_text(NETWORKS)
        words = ("-m", "localgrad", "sweep", "flow.toml", "--out")
        sweeps = [
            start(*words, "there.zarr", "--scheduler", address, cwd=tmp_path),
            start(*words, "here.zarr", "--workers", "0", cwd=tmp_path),
        ]
        outputs = [process.communicate(timeout=120)[0] for process in sweeps]
        assert [process.returncode for process in sweeps] == [0, 0], outputs
        assert data_files(tmp_path / "there.zarr") == data_files(tmp_path / "here.zarr")
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_the_local_pool_listens_on_the_loopback_only_and_takes_no_port_that_others_use():
    with socket.socket() as taken:
        with suppress(OSError):  # held by someone else
            taken.bind(("0.0.0.0", 8787))
            taken.listen()
        with pool.local_pool(1):
            here = psutil.Process()
            processes = [here, *here.children(recursive=True)]
            found = [c.laddr for x in processes for c in x.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(found) > 3
    assert {address.ip for address in found if address.port != 8787} == {"127.0.0.1"}


def test_workers_with_other_versions_are_refused(tmp_path, monkeypatch):
    """Where results hang on XLA's flags, also where only these are others."""
    here = pool.here
    other = {**versions(), FLAGS: "--another=1"}
    monkeypatch.setattr(ModesKind, "uses_xla", True)
    monkeypatch.setattr(pool, "here", lambda jobs: (replace(x, versions=other) for x in here(jobs)))
    with pytest.raises(ValueError, match=r"a worker has other versions than it must have \(XLA_FLAGS "):
        lg.sweep(MODES, out=tmp_path / "runs.zarr", workers=0)
    assert not receipts(tmp_path / "runs.zarr")


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("localgrad.sweeps.pool._PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:9", "nowhere", "tcp://127.0.0.1:notaport"):
        with pytest.raises(ValueError, match=r"the scheduler '.*' cannot be reached"):
            lg.sweep(MODES, out=tmp_path / "runs.zarr", scheduler=address)
