"""The programs of docs/cells.md run as they stand, one after the other, and print what their comments say."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "cells.md").read_text(encoding="utf-8")
PROGRAM = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.slow
def test_programs_run_and_print_what_they_say():
    promised = re.findall(r"^print\(.*\)  # (.*)$", PROGRAM, re.MULTILINE)
    printed = []
    exec(PROGRAM, {"print": lambda *values: printed.append(" ".join(map(str, values)))})
    assert printed == promised
    assert len(promised) == 10
