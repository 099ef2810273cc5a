r"""Linear tasks from TOML files, which say a builder and its arguments:

    kind = "oscillator"     # or integrator, delay_line, white_noise_teacher, coloured_teacher, closed_loop, linear
    period = 12
    decay = 0.9

Keys and kinds of values are checked by Pydantic, numbers by the builders. A file is data: nothing of it is executed,
and what is wrong is one sentence with the file, the line and the key. docs/files.md shows a file of every kind.

Limits: matrices are written out; teachers may be weight files beside the task's file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from localgrad.checks import check_path
from localgrad.models.linear import LinearRNN
from localgrad.tasks import builders, plants
from localgrad.tasks.examples import EXAMPLES
from localgrad.tasks.linear_task import LinearTask
from localgrad.tasks.teachers import load_teacher
from localgrad.tasks.toml_files import first_fault, line_of, parse_toml, read_toml

Number = Annotated[float, Field(allow_inf_nan=False)]
Matrix = list[list[Number]]
Delay = Annotated[int, Field(strict=False)]  # keys of TOML are words


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Given(_Table):
    """A table in which a network is written."""

    def made(self) -> LinearRNN:
        raise NotImplementedError


class _Network(_Given):
    A: Matrix
    W: Matrix
    B: Matrix

    def made(self) -> LinearRNN:
        return LinearRNN(self.A, self.W, self.B)


class _PointMass(_Given):
    step: Number = 0.1
    damping: Number = 0.0
    stiffness: Number = 0.0

    def made(self) -> LinearRNN:
        return plants.point_mass(self.step, damping=self.damping, stiffness=self.stiffness)


def _form(value: Any) -> str:
    """What a value is written as, which decides between the forms that a key may have."""
    if isinstance(value, dict):
        return "network" if {"A", "W", "B"} & set(value) else "point mass"
    if isinstance(value, list):
        return "matrix" if any(isinstance(row, list) for row in value) else "list"
    return "file" if isinstance(value, str) else "number"


def _one_of(forms: str) -> Discriminator:
    return Discriminator(_form, "wrong_form", f"give {forms}")


AnyTeacher = Annotated[
    Annotated[str, Tag("file")] | Annotated[_Network, Tag("network")],
    _one_of("the name of a weight file in quotes, or a table with A, W and B"),
]
Colour = Annotated[
    Annotated[Number, Tag("number")] | Annotated[list[Number], Tag("list")] | Annotated[_Network, Tag("network")],
    _one_of("a number, a list of numbers, or a table with A, W and B"),
]
Plant = Annotated[
    Annotated[_Network, Tag("network")] | Annotated[_PointMass, Tag("point mass")],
    _one_of("a table with A, W and B, or with step, damping and stiffness"),
]
Gain = Annotated[Annotated[Number, Tag("number")] | Annotated[Matrix, Tag("matrix")], _one_of("a number or a matrix")]
Noise = Annotated[
    Annotated[Number, Tag("number")] | Annotated[list[Number], Tag("list")] | Annotated[Matrix, Tag("matrix")],
    _one_of("a number, a list of numbers or a matrix"),
]


class _Task(_Table):
    """A kind of task; its other fields are the arguments of the builder of the same name."""

    kind: str

    def made(self, folder: Path) -> LinearTask:
        given = {name: _made(getattr(self, name), folder) for name in self.model_fields_set if name != "kind"}
        builder = LinearTask if self.kind == "linear" else getattr(plants, self.kind, None)
        return (builder or getattr(builders, self.kind))(**given)


class _WhiteNoiseTeacher(_Task):
    kind: Literal["white_noise_teacher"]
    teacher: AnyTeacher


class _ColouredTeacher(_Task):
    kind: Literal["coloured_teacher"]
    teacher: AnyTeacher
    colour: Colour


class _DelayLine(_Task):
    kind: Literal["delay_line"]
    weights: dict[Delay, Gain]


class _Integrator(_Task):
    kind: Literal["integrator"]
    leak: Number
    gain: Number = 1.0
    channels: int = 1


class _Oscillator(_Task):
    kind: Literal["oscillator"]
    period: Number
    decay: Number
    gain: Number = 1.0


class _ClosedLoop(_Task):
    kind: Literal["closed_loop"]
    plant: Plant
    imitate: Matrix | None = None
    regulate: Matrix | None = None
    plant_noise: Noise = 1.0
    sensor_noise: Noise = 0.0


class _Linear(_Task):
    kind: Literal["linear"]
    dynamics: Matrix
    noise: Matrix
    to_input: Matrix | None = None
    noise_to_input: Matrix | None = None
    to_target: Matrix
    from_output: Matrix | None = None
    student_noise: Matrix | None = None

    def made(self, folder: Path) -> LinearTask:
        names = LinearTask.__dataclass_fields__
        return LinearTask(**{name: getattr(self, name) for name in names})


_KINDS: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _WhiteNoiseTeacher | _ColouredTeacher | _DelayLine | _Integrator | _Oscillator | _ClosedLoop | _Linear,
        Field(discriminator="kind"),
    ]
)

_KINDS_WRITTEN = "integrator, oscillator, delay_line, white_noise_teacher, coloured_teacher, closed_loop or linear"


def load_task(source: str | os.PathLike[str]) -> LinearTask:
    """A task from a TOML file, or one of the named examples.

    **Arguments:** `source`: a file whose name ends in `.toml`; or `"integrator"`, `"oscillator"`, `"two-delays"` or
    `"point-mass"`.

    **Returns:** a `LinearTask`.

    **Raises:** `ValueError` naming the file, the line, the key and the remedy.

    Source: docs/theory.md, section 10; docs/files.md for the form of the file.

    >>> load_task("oscillator").sizes
    (1, 2, 1)
    """
    check_path("the source of a task", source)
    if str(source) in EXAMPLES:
        return EXAMPLES[str(source)]()
    path = Path(source)
    if path.suffix != ".toml":
        raise ValueError(
            f"task {str(source)[:60]!r} is neither a .toml file nor one of the named tasks: {', '.join(EXAMPLES)}"
        )
    text = read_toml(path, "task file")
    try:
        return _KINDS.validate_python(parse_toml(text)).made(path.parent)
    except ValidationError as error:
        fault = first_fault(error, text, what="task", kinds=_KINDS_WRITTEN)
        raise ValueError(f"task file {str(path)!r}{fault}") from None
    except ValueError as error:
        raise ValueError(f"task file {str(path)!r}{line_of([str(error).split()[0]], text)}: {error}") from None


def _made(value: Any, folder: Path) -> Any:
    """A network from a table, or from a weight file beside the task's file; anything else as it is."""
    if isinstance(value, str):
        return load_teacher(folder / value)
    return value.made() if isinstance(value, _Given) else value
