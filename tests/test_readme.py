"""README's programs run as they stand, one after the other, and print what their comments say."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAM = "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))


def agrees(printed, promised):
    """Whether words are those promised, whose numbers may end in `…`."""
    pattern = re.escape(" ".join(promised.split())).replace("…", r"[\d.e+-]*")
    return re.fullmatch(pattern, " ".join(printed.split())) is not None


def promises():
    """What a comment says of the `print` before it: `(number of the print, words up to a colon)`."""
    prints = re.findall(r"^print\(.*?\)(?:  # (.*))?$", PROGRAM, re.MULTILINE)
    return [(i, re.split(r": (?!F =)", comment)[0]) for i, comment in enumerate(prints) if comment]


def test_promises_are_read():
    assert agrees("converged -1 4.7066457", "converged -1 4.706…")
    assert not agrees("converged -1 4.7166457", "converged -1 4.706…")
    assert not agrees("converged", "converged -1")
    assert len(promises()) >= 10


@pytest.mark.slow
def test_programs_run_and_print_what_they_say(tmp_path, monkeypatch):
    printed = []
    monkeypatch.chdir(tmp_path)
    exec(PROGRAM, {"print": lambda *values: printed.append(" ".join(map(str, values)))})
    wrong = {words: printed[i] for i, words in promises() if not agrees(printed[i], words)}
    assert wrong == {}
    assert {path.name for path in tmp_path.iterdir()} == {"curve.png", "curve.npz", "detour.png"}
