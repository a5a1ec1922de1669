"""From `package.module:tasks` to the tasks: imports the user's module, and says in one line what is wrong with it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Final, cast

from milepost.cli.ends import UsageError
from milepost.registry import Registry
from milepost.tasks import AnyTask, Task

_FORM: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_form(app: str) -> None:
    """Raise `UsageError` unless `app` has the form of a target."""
    if not _FORM.fullmatch(app):
        raise UsageError(f"--app {app!r} is not of the form package.module:tasks, a module and a name in it")


def load_tasks(app: str) -> Sequence[AnyTask]:
    """The tasks that `app` names; the folder that the program runs in counts as a place for modules.

    Raises `UsageError`, and `TaskDefinitionError` for tasks that cannot be run together.
    """
    check_form(app)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    name, _, attribute = app.partition(":")
    found: object = _import(name)
    for part in attribute.split("."):
        found = _attribute(found, part, app)
    return _tasks(found, app)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # One that the module itself imports is the module's mistake.
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _broken(name, error) from error
        raise UsageError(
            f"there is no module {error.name!r} for --app, neither in {os.getcwd()} nor among what is installed: "
            "check the name and the folder"
        ) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> UsageError:
    where = ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    elif frames := traceback.extract_tb(error.__traceback__):
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})"
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    return UsageError(f"the module {name} of --app cannot be imported: {type(error).__name__}: {what}{where}")


def _attribute(owner: object, name: str, app: str) -> object:
    try:
        return getattr(owner, name)
    except AttributeError:
        known = [key for key, value in vars(owner).items() if isinstance(value, list | tuple)] if owner else []
        has = f"; its lists are {', '.join(known)}" if known else ""
        raise UsageError(f"--app {app}: {_named(owner)} has no {name!r}{has}") from None


def _tasks(found: object, app: str) -> Sequence[AnyTask]:
    if isinstance(found, Task):
        raise UsageError(f"--app {app} is one task; name a list of tasks, such as tasks = [{app.rpartition(':')[2]}]")
    if isinstance(found, str | bytes) or not isinstance(found, Sequence | set | frozenset):
        raise UsageError(f"--app {app} is {_kind(found)}, not a list of tasks")
    tasks = list(cast("Sequence[AnyTask]", found))
    if not tasks:
        raise UsageError(f"--app {app} is empty, so nothing would run; put your tasks into it")
    return list(Registry.of(tasks).tasks.values())


def _named(owner: object) -> str:
    return f"the module {owner.__name__}" if isinstance(owner, ModuleType) else _kind(owner)


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
