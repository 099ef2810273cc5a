"""What a sweep costs beyond its runs: in a chunk, between chunks, with many workers, and from end to end.

Ratios are of processor time, in turns (direct, sweep, direct, …), so that a busy machine slows both alike.
"""

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

import localgrad as lg
from localgrad.sweeps.definition import Definition
from localgrad.sweeps.draws import codes_of, keys_of, normals
from localgrad.sweeps.kinds.tasks import jax_key
from localgrad.sweeps.plan import compute, make_plan
from localgrad.sweeps.reading import define
from localgrad.sweeps.runner import num_cores
from localgrad.sweeps.store import open_store

MODES = {
    "kind": "modes",
    "run": {
        "rule": "rflo",
        "feedback": 1.0,
        "a": {"normal": [0.0, 1.0]},
        "b": {"normal": [0.0, 1.0]},
        "w": {"uniform": [-0.9, 0.9]},
        "teacher_w": {"uniform": [-0.9, 0.9]},
    },
    "axes": {"decay": {"from": 0.0, "to": 0.9, "num": 10}, "seed": 1_000_000},
}
FLOW = {
    "kind": "flow",
    "run": {"rule": "rflo", "decay": 0.5, "task": {"random": [2, 3, 2]}, "hidden": 4, "duration": 100.0},
    "axes": {"seed": 40},
    "draws": {"task": []},
}


def main(quick: bool = False) -> None:
    rounds = 3 if quick else 7
    overhead("a chunk of 1,000,000 modes", *_modes(1_000_000), rounds)
    overhead("a chunk of 262,144 modes", *_modes(262_144), rounds)
    overhead("a chunk of 40 flows of networks", *_flows(), rounds)
    many_workers(100 if quick else 1000, (1, 2, 8) if quick else (1, 2, 8, 32))
    end_to_end(1_000_000 if quick else 10_000_000)


# --- beyond the engine ---


def overhead(name: str, direct: Callable[[], object], definition: Definition, rounds: int) -> None:
    """Compute a chunk and store it, against drawing the same number of starts and calling the engine."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "runs.zarr", definition) as store:

        def swept() -> None:
            store.write(compute(store.job(store.pending()[0])))
            store.covered.clear()

        times: dict[str, list[float]] = {"direct": [], "sweep": []}
        for _ in range(rounds):
            for kind, call in (("direct", direct), ("sweep", swept)):
                call()  # does not count: compiles, and finds memory as the other one left it
                started = time.process_time()
                call()
                times[kind].append(time.process_time() - started)
    ratio = median(s / d for s, d in zip(times["sweep"], times["direct"], strict=True))
    print(f"{name}: engine {median(times['direct']):.2f} s, as a sweep {median(times['sweep']):.2f} s: "
          f"{100 * (ratio - 1):+.1f} %", flush=True)  # fmt: skip


def _modes(count: int) -> tuple[Callable[[], object], Definition]:
    rng = np.random.default_rng(0)

    def direct() -> object:
        a, b = rng.standard_normal((2, count))
        w, w_star = rng.uniform(-0.9, 0.9, (2, count))
        teacher = lg.Mode(1.0, 1.0, w_star)
        return lg.integrate_modes(lg.RFLO(1.0, 0.45), lg.Mode(a, b, w), teacher, duration=1000.0, rtol=1e-5, threads=1)

    axes = {"decay": [0.45], "seed": count}
    return direct, define(MODES | {"axes": axes, "chunk": count}, Path())


def _flows() -> tuple[Callable[[], object], Definition]:
    seeds = {"seed": codes_of(np.arange(40))}  # the sweep's own task, students and feedback
    keys = zip(keys_of(0, "student", seeds, 40), keys_of(0, "feedback", seeds, 40), strict=True)
    drawn, task_key = list(keys), jax_key(int(keys_of(0, "task", {}, 1)[0]))

    def direct() -> None:
        with jax.enable_x64(True):
            teacher = lg.random_network(2, 3, 2, key=task_key, spectral_radius=0.9)
            task = lg.tasks.white_noise_teacher(teacher)
            for student_key, feedback_key in drawn:
                student = lg.random_network(2, 4, 2, key=jax_key(int(student_key)), scale=0.3)
                rule = lg.RFLO(normals(np.asarray(feedback_key), 8).reshape(2, 4) / 2, 0.5)
                lg.learn(rule, student, task, duration=100.0, save_at=[0.0])

    return direct, define(FLOW | {"chunk": 40}, Path())


# --- many workers ---


def many_workers(tasks: int, counts: tuple[int, ...]) -> None:
    """Seconds that Dask takes for a chunk that costs nothing, by the number of worker processes on the loopback."""
    from distributed import Client, LocalCluster

    for count in counts:
        settings = {"n_workers": count, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
        with LocalCluster(silence_logs=50, **settings) as cluster, Client(cluster) as client:
            for size in (0, 1_000_000):
                _drive(client, 4 * count, 2 * count, size)
                started = time.perf_counter()
                _drive(client, tasks, 2 * count, size)
                seconds = (time.perf_counter() - started) / tasks
                print(
                    f"{count} workers, {tasks} empty chunks of {size:,} bytes: {1e3 * seconds:.2f} ms each", flush=True
                )


def _drive(client: Any, tasks: int, window: int, size: int) -> None:
    """As a sweep hands out chunks: a few in flight, another for each that comes back."""
    from distributed import as_completed

    completed, left = as_completed(loop=client.loop), tasks
    for _ in range(min(window, tasks)):
        completed.add(client.submit(bytes, size, pure=False))
        left -= 1
    for future in completed:
        future.result()
        if left:
            completed.add(client.submit(bytes, size, pure=False))
            left -= 1


# --- end to end ---


def end_to_end(runs: int) -> None:
    """From a definition to a store that is complete, with a process a core; and what one process stores a second."""
    document = MODES | {"axes": MODES["axes"] | {"seed": runs // 10}}
    folder = Path(tempfile.mkdtemp())
    try:
        started = time.perf_counter()
        data = lg.sweep(document, out=folder / "runs.zarr")
        seconds = time.perf_counter() - started
        largest = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert int((data.status == 1).sum()) == runs
        print(f"{runs:,} modes on {num_cores()} cores, end to end: {seconds:.1f} s; {size / 1e6:.0f} MB; at most "
              f"{largest[0]:.0f} MB of memory here, {largest[1]:.0f} MB in a worker", flush=True)  # fmt: skip
        _storing(folder, document)
    finally:
        shutil.rmtree(folder)


def _storing(folder: Path, document: dict) -> None:
    definition = define(document, Path())
    plan = make_plan(definition)
    result = compute(plan.job(next(plan.places())))
    with open_store(folder / "again.zarr", definition) as store:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            store.write(result)
            times.append(time.perf_counter() - started)
    size = sum(map(len, result.files.values()))
    print(f"a chunk of {result.runs:,} modes, {size / 1e6:.2f} MB, is stored in {1e3 * median(times):.1f} ms: "
          f"{size / 1e6 / median(times):.0f} MB/s, {result.runs / median(times):,.0f} runs/s", flush=True)  # fmt: skip
