"""Every public name says what it is; every function that computes says where its formula comes from."""

import inspect
import types

import pytest

import localgrad as lg

# Compute nothing of their own, or only what their one line says: no source to name.
WITHOUT_SOURCE = {
    "Feedback",
    "Frames",
    "Mode",
    "Outcome",
    "Propagator",
    "align_rule",  # names theory.md in its text
    "load_run",
    "make_rule",
    "random_frames",
    "random_network",
    "save",
    "spectral_radius",
}


def public_objects():
    """Every public name of the package and of its public submodules, as `(dotted name, object)`."""
    for name in lg.__all__:
        value = getattr(lg, name)
        if isinstance(value, types.ModuleType):
            yield from ((f"{name}.{inner}", getattr(value, inner)) for inner in value.__all__)
        else:
            yield name, value


OBJECTS = [pytest.param(name, value, id=name) for name, value in public_objects() if not name.startswith("__")]


def is_code(value) -> bool:
    return callable(value) and not isinstance(value, types.ModuleType)


@pytest.mark.parametrize(("name", "value"), OBJECTS)
def test_has_a_docstring_of_its_own(name, value):
    if is_code(value):
        # Not `inspect.getdoc`, which would also find the docstring of a base class.
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"
        assert not value.__doc__.startswith(f"{value.__name__}("), f"{name} has only a generated docstring"
    elif isinstance(value, types.ModuleType):
        assert value.__doc__, f"module {name} has no docstring"


@pytest.mark.parametrize(("name", "value"), OBJECTS)
def test_methods_have_docstrings(name, value):
    if not inspect.isclass(value):
        return
    for member, method in vars(value).items():
        public = member == "__call__" or not member.startswith("_")
        if public and (inspect.isfunction(method) or isinstance(method, property | classmethod)):
            assert inspect.getdoc(method), f"{name}.{member} has no docstring"


@pytest.mark.parametrize(("name", "value"), OBJECTS)
def test_what_computes_names_its_source(name, value):
    short = name.rsplit(".", 1)[-1]
    if inspect.isfunction(value) and short not in WITHOUT_SOURCE:
        assert "Source:" in value.__doc__, f"{name} names no source; add a line 'Source: …' to its docstring"


@pytest.mark.parametrize(("name", "value"), OBJECTS)
def test_the_first_line_stands_alone(name, value):
    if is_code(value) and value.__doc__:
        first = inspect.cleandoc(value.__doc__).splitlines()
        assert first[0].strip(), f"{name}: the docstring's first line is empty"
        assert len(first) == 1 or not first[1].strip(), f"{name}: the first line must be followed by an empty one"


def test_exceptions_exist():
    known = {name.rsplit(".", 1)[-1] for name, _ in public_objects()}
    assert known >= WITHOUT_SOURCE
