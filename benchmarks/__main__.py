"""Run benchmarks: `python -m benchmarks [NAME ...] [--quick]`; all by default."""

import argparse
from importlib import import_module

NAMES = (
    "expected-update",
    "algorithms",
    "learning-curves",
    "training",
    "training-cells",
    "ensemble",
    "agreement",
    "explorer",
    "startup",
    "state-space",
    "sweeps",
    "cells",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller problems and fewer repetitions")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        print(f"\n== {name} ==", flush=True)
        import_module(f"benchmarks.{name.replace('-', '_')}").main(quick=arguments.quick)


if __name__ == "__main__":
    main()
