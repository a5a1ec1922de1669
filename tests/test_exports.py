"""What users may import: each public name through exactly one door, typed, and nothing beside the doors' lists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = "milepost"
DOORS = [PACKAGE, "milepost.dashboard", "milepost.hosting", "milepost.testing"]
OPEN_DOORS = [door for door in DOORS if door == PACKAGE or importlib.util.find_spec(door) is not None]
EACH_DOOR = pytest.mark.parametrize("door", OPEN_DOORS)


@EACH_DOOR
def test_a_door_lists_what_it_exports(door: str) -> None:
    assert _listed(door), f"{door} exports nothing: use __all__, or `from module import X as X`"


@EACH_DOOR
def test_every_listed_name_can_be_imported(door: str) -> None:
    module = importlib.import_module(door)
    missing = [name for name in _listed(door) if not hasattr(module, name)]
    assert not missing, f"{door} lists what it does not have: {missing}"


@EACH_DOOR
def test_no_name_is_listed_twice(door: str) -> None:
    twice = [name for name, times in Counter(_listed(door)).items() if times > 1]
    assert not twice, f"{door} lists these more than once: {twice}"


@EACH_DOOR
def test_nothing_public_is_left_off_the_list(door: str) -> None:
    module, listed = importlib.import_module(door), set(_listed(door))
    beside = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in listed and not isinstance(value, ModuleType)
    ]
    # `from __future__ import annotations` leaves its name behind.
    assert set(beside) <= {"annotations"}, f"{door} has these unlisted: {beside}; list them or hide them"


@EACH_DOOR
def test_what_is_exported_is_our_own(door: str) -> None:
    module = importlib.import_module(door)
    foreign = {
        name: value.__module__
        for name in _listed(door)
        if isinstance(value := getattr(module, name), type) and value.__module__.partition(".")[0] != PACKAGE
    }
    assert not foreign, f"{door} exports what belongs to others: {foreign}"


def test_every_public_name_has_exactly_one_door() -> None:
    doors: dict[str, list[str]] = {}
    for door in OPEN_DOORS:
        for name in _listed(door):
            doors.setdefault(name, []).append(door)
    several = {name: found for name, found in doors.items() if len(found) > 1}
    assert not several, f"choose one door for each of these: {several}"


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files(PACKAGE).joinpath("py.typed").is_file()


@pytest.mark.slow
def test_no_public_type_is_unknown() -> None:
    # pyright looks for the package with the `python` that it finds on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    said = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    completeness = json.loads(said.stdout)["typeCompleteness"]
    assert completeness["packageRootDirectory"], f"pyright does not find {PACKAGE}: {said.stdout}"
    unknown = [
        f"{symbol['name']}: {'; '.join(each['message'] for each in symbol['diagnostics'])}"
        for symbol in completeness["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
    ]
    assert not unknown, "annotate these:\n" + "\n".join(unknown)


def _listed(door: str) -> list[str]:
    """The names in `__all__`, or without one those that `import X as X` or the door's own code marks as exported."""
    module = importlib.import_module(door)
    if hasattr(module, "__all__"):
        return list(module.__all__)
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        match node:
            case ast.ImportFrom(names=imported):
                names.extend(each.name for each in imported if each.asname == each.name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case _:
                pass
    return [name for name in names if not name.startswith("_")]
