"""The reference: one page for each room of the house, from the stub of public names and the docstrings as they stand.

The stub `src/localgrad/__init__.pyi` says which names are public and in which room they live. A docstring is Markdown
and is copied as it stands, but for three things: examples become blocks of code, files of the docs that are named
become links, and so do the sections of the theory. A public name without a docstring is an error.

Limits: annotations of types are left out, since a docstring gives shapes, units and domains in words.
"""

import ast
import importlib
import inspect
import re
import tomllib
import types
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import localgrad

ROOT = Path(__file__).parents[2]
STUB = ROOT / "src" / "localgrad" / "__init__.pyi"
HEADING = re.compile(r"^## ((\d+)\. .*)$", re.MULTILINE)
SECTIONS = re.compile(r"(?<=theory\.md\))(,? sections? )(\d+(?:(?:, and |, | and |–)\d+)*)")
CALL = re.compile(r"(lg\.|localgrad\.)?([A-Za-z_][\w.]*)(\(.*\))?", re.DOTALL)
DOCUMENT = re.compile(r"(?<!\]\()(?<![\w/\[])docs/(\w+\.md)")


class Name(NamedTuple):
    """A public name: as users write it after `lg.`, and what it stands for."""

    name: str
    value: Any

    @property
    def first_line(self) -> str:
        """What it is, in one line."""
        return docstring(self.name, self.value).splitlines()[0]


def docstring(name: str, value: Any) -> str:
    """The docstring, its indentation removed; an error where there is none."""
    if not (text := inspect.cleandoc(value.__doc__ or "")):
        raise ValueError(f"lg.{name} is public and has no docstring")
    return text


def room_of(module: str) -> str:
    """The room a module of the stub lies in: `rules` for `rules.presets`."""
    return module.partition(".")[0]


@cache
def public_names() -> dict[str, list[Name]]:
    """Room → its public names, in the order of the stub; those of a public submodule come last, as `tasks.name`."""
    rooms: dict[str, list[Name]] = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            value = getattr(localgrad, alias.name)
            room = room_of(node.module or alias.name)
            if isinstance(value, types.ModuleType):
                found = [Name(f"{alias.name}.{inner}", getattr(value, inner)) for inner in value.__all__]
            else:
                found = [Name(alias.name, value)]
            rooms.setdefault(room, []).extend(found)
    return {room: sorted(rooms[room], key=lambda x: "." in x.name) for room in in_order(rooms)}


def in_order(rooms: Iterable[str]) -> list[str]:
    """Rooms as they build on each other, from the floors in `pyproject.toml`; what is no room but a file comes last."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [name.rpartition(".")[2] for layer in reversed(layers) for name in layer.split(" : ")]
    return sorted(rooms, key=lambda room: (not (STUB.parent / room).is_dir(), floors.index(room)))


def public_target(text: str, *, bare: bool) -> str | None:
    """The public name that a piece of code is or calls, as `lg.name`; `bare` where it may stand without `lg.`."""
    found = CALL.fullmatch(text)
    if not found or not (found[1] or bare):
        return None
    names = {item.name for items in public_names().values() for item in items}
    return f"lg.{found[2]}" if found[2] in names else None


def signature(value: Any) -> str:
    """The arguments with their defaults, without types; empty for what is not called."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [x.replace(annotation=x.empty) for x in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def as_markdown(text: str, up: str = "../") -> str:
    """A docstring whose examples are blocks of code, and whose citations of the docs are links."""
    lines, block = [], False
    for line in text.splitlines():
        starts = line.startswith(">>> ")
        if starts and not block:
            lines.append("```pycon")
        elif block and not line.strip():
            lines.append("```")
        block = starts or (block and bool(line.strip()))
        lines.append(line)
    return linked("\n".join([*lines, "```"] if block else lines), up)


def linked(text: str, up: str) -> str:
    """The text with links where it names files of the docs, and sections of the theory."""
    text = DOCUMENT.sub(rf"[docs/\1]({up}\1)", text)
    slugs = theory_sections()

    def link(found: re.Match) -> str:
        return found[1] + re.sub(r"\d+", lambda n: f"[{n[0]}]({up}theory.md#{slugs[int(n[0])]})", found[2])

    return SECTIONS.sub(link, text)


@cache
def theory_sections() -> dict[int, str]:
    """Number of a section of the theory → its anchor, made from its heading as GitHub does."""
    headings = HEADING.findall((ROOT / "docs" / "theory.md").read_text(encoding="utf-8"))
    return {int(number): re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading, number in headings}


def members(value: type) -> Iterator[tuple[str, str, Any]]:
    """Kind, name and object of the methods and properties that a class defines itself and documents."""
    for name, member in vars(value).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(member, property | cached_property):
            yield "property", name, member
        elif isinstance(member, classmethod | staticmethod):
            yield type(member).__name__, name, getattr(value, name)
        elif inspect.isfunction(member) and member.__doc__:
            yield "method", name, member


def directive(kind: str, name: str, text: str, *, inner: str = "", options: str = "") -> str:
    """A directive of Sphinx's Python domain around a text and the directives inside it."""
    fence = "::::" if inner else ":::"
    return f"{fence}{{py:{kind}}} {name}\n{options}\n{text}\n\n{inner}{fence}\n\n"


def member_entry(kind: str, name: str, member: Any) -> str:
    """A method or property of a class."""
    call = "" if kind == "property" else without_self(signature(member))
    return directive(kind, name + call, as_markdown(docstring(name, member)))


def without_self(call: str) -> str:
    """A method's signature as it is called."""
    return re.sub(r"^\(self(?:, /)?(?:, )?", "(", call)


def entry(item: Name) -> str:
    """The whole entry of a public name: signature, docstring, and the methods of a class."""
    kind = "class" if inspect.isclass(item.value) else "function"
    inner = "".join(member_entry(*x) for x in members(item.value)) if kind == "class" else ""
    call = "" if kind == "class" and issubclass(item.value, int) else signature(item.value)
    text = as_markdown(docstring(item.name, item.value))
    return directive(kind, f"lg.{item.name}{call}", text, inner=inner)


def cell(text: str) -> str:
    """Text inside a table, on one line and with its links."""
    return re.sub(r"(?<!\\)\|", r"\|", linked(" ".join(text.split()), "../"))


def table(names: list[Name]) -> str:
    """A table of names with their first lines."""
    rows = [f"| {{py:obj}}`lg.{x.name}` | {cell(x.first_line)} |" for x in names]
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def title(room: str) -> str:
    """The heading of a room's page."""
    return room.capitalize()


def about(room: str) -> str:
    """What a room is for, from its own docstring."""
    module = importlib.import_module(f"localgrad.{room}")
    return as_markdown(inspect.cleandoc(module.__doc__ or ""))


def pages() -> dict[str, str]:
    """File name → Markdown of the reference: its table of contents, and a page for each room."""
    rooms = public_names()
    listed = "\n\n".join(f"## [{title(room)}]({room}.md)\n\n{table(names)}" for room, names in rooms.items())
    tree = "\n".join(["```{toctree}", ":hidden:", "", *rooms, "command_line", "```"])
    index = (
        "# Reference\n\nAll public names, as they are written after `import localgrad as lg`. "
        f"The commands have [a page of their own](command_line.md).\n\n{listed}\n\n{tree}\n"
    )
    found = {"index.md": index}
    for room, names in rooms.items():
        entries = "".join(map(entry, names))
        found[f"{room}.md"] = f"# {title(room)}\n\n{about(room)}\n\n{table(names)}\n\n{entries}"
    return found
