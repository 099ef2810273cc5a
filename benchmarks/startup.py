"""How long the command line takes: `--help`, and the reproduction, each in a fresh process."""

import subprocess
import sys
import tempfile
import time
from statistics import median

COMMAND = [sys.executable, "-m", "localgrad"]


def seconds(arguments: list[str], repetitions: int) -> float:
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], capture_output=True, check=True)
        taken.append(time.perf_counter() - start)
    return median(taken)


def main(*, quick: bool = False) -> None:
    print(f"localgrad --help: {seconds(['--help'], 9):.2f} s (target < 0.5 s)")
    runs = [("reproduce --quick", 60)] if quick else [("reproduce --quick", 60), ("reproduce", 240)]
    with tempfile.TemporaryDirectory() as folder:
        for command, target in runs:
            taken = seconds([*command.split(), "--out", folder], 1)
            print(f"localgrad {command}: {taken:.0f} s (target < {target} s)")
