"""From package.module:tasks to tasks, and one clear line for each way in which it can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from milepost import TaskDefinitionError
from milepost.cli.ends import UsageError
from milepost.cli.target import load_tasks

APP = """
from milepost import Success, TaskResult, task

@task
def double(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(2).for_error(str)

@task(name="double")
def twice(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(2).for_error(str)

class Holder:
    tasks = (double,)

tasks = [double]
as_set = {double}
empty = []
text = "double"
several = [double, twice]
strange = [double, 7]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("apps", "apps.good"):
        sys.modules.pop(name, None)
    package = tmp_path / "apps"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text(APP)
    (package / "divides.py").write_text("\n1 / 0\n")
    (package / "wants.py").write_text("import not_there_at_all\n")
    (package / "garbled.py").write_text("def :\n")
    return tmp_path


@pytest.mark.parametrize("attribute", ["tasks", "as_set", "Holder.tasks"])
def test_tasks_are_found_in_the_folder_that_the_program_runs_in(attribute: str) -> None:
    assert [task.name for task in load_tasks(f"apps.good:{attribute}")] == ["double"]


@pytest.mark.parametrize(
    "app", ["", "apps.good", "apps.good:", ":tasks", "apps/good.py:tasks", "apps.good:tasks()", "a b:c"]
)
def test_what_has_not_the_form_of_a_target_is_refused(app: str) -> None:
    with pytest.raises(UsageError, match="is not of the form package"):
        load_tasks(app)


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("nowhere:tasks", "there is no module 'nowhere' for --app, neither in .* nor among what is installed"),
        ("apps.nowhere:tasks", "there is no module 'apps.nowhere' for --app"),
        ("apps.divides:tasks", r"cannot be imported: ZeroDivisionError: division by zero \(.*divides.py, line 2\)"),
        ("apps.wants:tasks", r"cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all' \(.*wants"),
        ("apps.garbled:tasks", r"cannot be imported: SyntaxError: .* \(.*garbled.py, line 1\)"),
        ("apps.good:jobs", "the module apps.good has no 'jobs'; its lists are tasks, empty, several, strange"),
        ("apps.good:double", r"is one task; name a list of tasks, such as tasks = \[double\]"),
        ("apps.good:text", "is of type str, not a list of tasks"),
        ("apps.good:empty", "is empty, so nothing would run"),
    ],
)
def test_what_is_wrong_with_an_app_is_told_in_one_line(app: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        load_tasks(app)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("app", "message"), [("several", "two tasks have the name 'double'"), ("strange", "7 is not a")]
)
def test_tasks_that_cannot_run_together_are_refused(app: str, message: str) -> None:
    with pytest.raises(TaskDefinitionError, match=message):
        load_tasks(f"apps.good:{app}")
