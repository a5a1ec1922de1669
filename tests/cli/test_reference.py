"""The page on the command line says what the program says: every command, option, default and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from milepost.cli.app import app
from milepost.cli.ends import ExitCode

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def commands(parent: App, path: Sequence[str]) -> Iterator[tuple[str, App]]:
    for name in parent:
        child: App = parent[name]
        if name.startswith("-"):
            continue
        if child.default_command is None:
            yield from commands(child, [*path, name])
        else:
            yield " ".join([*path, name]), child


COMMANDS = dict(commands(app, ["milepost"]))


def section(command: str) -> str:
    _, found, rest = PAGE.partition(f"\n## `{command}`\n")
    assert found, f"the page has no section on {command}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> dict[str, str]:
    """The first and the second column of the section's tables."""
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]*?) ?\|", text, re.MULTILINE))


def parameters(command: App) -> dict[str, Any]:
    return {argument.name: argument for argument in command.assemble_argument_collection()}


def test_the_page_has_a_section_for_each_command_and_no_other() -> None:
    assert set(re.findall(r"^## `(milepost [^`]+)`$", PAGE, re.MULTILINE)) == set(COMMANDS)
    assert set(COMMANDS) == {
        "milepost run",
        "milepost check",
        "milepost db migrate",
        "milepost db status",
        "milepost db copy",
        "milepost executor list",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_section_lists_the_options_of_its_command(command: str) -> None:
    assert set(rows(section(command))) == set(parameters(COMMANDS[command]))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_section_tells_the_defaults(command: str) -> None:
    listed = rows(section(command))
    for name, argument in parameters(COMMANDS[command]).items():
        default = argument.field_info.default
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert listed[name] == str(default), f"{command} {name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command: str) -> None:
    assert COMMANDS[command].help
    assert all(argument.parameter.help for argument in parameters(COMMANDS[command]).values())


def test_the_page_tells_every_exit_code() -> None:
    table = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert codes == {code.value for code in ExitCode}
