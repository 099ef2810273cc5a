"""The page of the command line, from the help that each command prints, so that nothing is said twice.

The text of a command is Markdown and is copied; its arguments and options become tables.
"""

import inspect
from typing import Any

import typer.main
from reference import cell, linked

from localgrad.cli.commands import app
from localgrad.cli.rules import RULES, rule_names


def section(program: str, command: Any) -> str:
    """A command's help: what it does, and its arguments and options as a table."""
    context = command.make_context(program, [], resilient_parsing=True)
    rows = filter(None, (x.get_help_record(context) for x in command.get_params(context)))
    table = [f"| `{cell(written)}` | {cell(meaning)} |" for written, meaning in rows]
    text = linked(inspect.cleandoc(command.help), "../")
    return "\n".join([f"## {program}", "", text, "", "| written | meaning |", "|---|---|", *table, "", ""])


def page() -> str:
    """The Markdown of the page."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.main.TyperGroup)
    context = group.make_context("localgrad", [], resilient_parsing=True)
    names = group.list_commands(context)
    parts = [section("localgrad", group)]
    parts += [section(f"localgrad {name}", group.commands[name]) for name in names]
    return "# The command line\n\n" + "".join(parts).replace(RULES, ", ".join(rule_names()))
