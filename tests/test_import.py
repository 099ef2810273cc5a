"""Importing localgrad is light and changes nothing."""

import subprocess
import sys


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_import_does_not_load_jax():
    heavy = "'jax', 'equinox', 'numba', 'sympy', 'scipy', 'matplotlib', 'xarray'"
    program = f"import sys, localgrad; localgrad.__all__; print(sorted({{{heavy}}} & set(sys.modules)))"
    assert run(program) == "[]"


def test_use_loads_jax_and_leaves_its_configuration_alone():
    program = (
        "import jax; before = dict(jax.config.values); import localgrad, sys; localgrad.BPTT(); "
        "localgrad.expected_update; localgrad.mode_update; "
        "print(before == dict(jax.config.values), jax.config.read('jax_enable_x64'))"
    )
    assert run(program) == "True False"


def test_plotting_libraries_are_not_part_of_the_core():
    program = (
        "import sys, localgrad as lg; lg.expected_update; lg.mode_update; lg.BPTT; "
        "print(sorted({'matplotlib', 'xarray', 'typer', 'rich', 'dask'} & set(sys.modules)))"
    )
    assert run(program) == "[]"
