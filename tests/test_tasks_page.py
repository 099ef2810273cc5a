"""The programs of docs/tasks.md run as they stand, one after the other, and print what their comments say."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
ABOUT_DATA, ABOUT_LOOPS = PAGE.split("## Reaching in closed loop")


def programs(text):
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def ran(program):
    """What a program prints, and the names it leaves."""
    printed, names = [], {}
    names["print"] = lambda *values: printed.append(" ".join(map(str, values)))
    exec(program, names)
    return printed, names


@pytest.mark.slow
def test_programs_run_and_print_what_they_say():
    program = programs(ABOUT_DATA)
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert ran(program)[0] == promised
    assert len(promised) == 8


@pytest.mark.slow
def test_reaching_is_learned_by_all_rules_and_best_by_the_gradient():
    _, names = ran(programs(PAGE))
    losses = names["losses"]
    assert len(losses) == 6
    for (body, name), loss in losses.items():
        assert loss.max() < 0.4, (body, name)
        if name != "BPTT":
            assert (loss > losses[body, "BPTT"]).sum() >= 2, (body, name)
