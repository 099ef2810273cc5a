"""What docs/sweeps.md says to write and to type works as it stands: its file, its commands, its programs."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from localgrad.cli.commands import app
from localgrad.sweeps.reading import define, read_definition
from localgrad.sweeps.shipped import shipped_sweeps

PAGE = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILE, AXIS = (text for language, text in BLOCKS if language == "toml")
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line.partition("  #")[0] for language, text in BLOCKS if not language for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the page's file, cut to a few runs of a few values each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(re.sub(r"num = \d+", "num = 2", FILE).replace("seed = 200", "seed = 5"))
    return tmp_path


def test_the_file_is_sound(tmp_path):
    (tmp_path / "mine.toml").write_text(FILE)
    definition = read_definition(tmp_path / "mine.toml")
    assert definition.shape == (10, 9, 2, 200)
    [slow] = [x for x in tomllib.loads(AXIS)["rule"] if isinstance(x, dict)]
    document = {"kind": "modes", "run": {"a": 0.5, "b": 0.5, "w": 0.0, "teacher_w": 0.5, "feedback": 1.0}}
    [axis] = define(document | {"axes": tomllib.loads(AXIS)}, tmp_path).axes
    assert list(axis.labels) == ["bptt", slow["label"]]


def test_commands_are_those_of_the_command_line(folder):
    """Each names a sweep that there is, and options that there are; those on a file of one's own are run."""
    ours = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("localgrad ")]
    assert len(ours) >= 4
    for words in ours:
        assert words[1].endswith((".toml", ".zarr")) or words[1] in shipped_sweeps()
        options = [word for word in words if word.startswith("--")]
        shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [words[0], "--help"]).output
        assert [option for option in options if option not in shown] == []
    for words in (["sweep", "mine.toml", "--workers", "0"], ["show", "mine.zarr", "--figures", "figures"]):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
    assert len(list((folder / "figures").iterdir())) >= 2


@pytest.mark.slow
def test_programs_run(folder):
    """The first in this process instead of workers, the one for Slurm is read only."""
    first, slurm = PROGRAMS
    names = {"__name__": "__main__"}
    exec(first.replace('.zarr")', '.zarr", workers=0)'), names)
    assert names["data"].sizes["rule"] == 2
    compile(slurm, "slurm", "exec")
