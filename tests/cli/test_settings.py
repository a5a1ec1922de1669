"""Where the app and the store are named, and what is said when they are not, or badly."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.cli.ends import UsageError
from milepost.cli.settings import Settings


def project(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)


def test_a_flag_goes_before_the_environment_and_that_before_the_project(tmp_path: Path) -> None:
    project(tmp_path, '[tool.milepost]\napp = "project:tasks"\nstore = "sqlite:///project.db"')
    bare = Settings({}, tmp_path)
    told = Settings({"MILEPOST_APP": "environment:tasks", "MILEPOST_STORE": "sqlite:///environment.db"}, tmp_path)
    assert (bare.app(None), bare.store(None)) == ("project:tasks", "sqlite:///project.db")
    assert (told.app(None), told.store(None)) == ("environment:tasks", "sqlite:///environment.db")
    assert (told.app("flag:tasks"), told.store("sqlite:///flag.db")) == ("flag:tasks", "sqlite:///flag.db")


def test_an_empty_variable_names_nothing(tmp_path: Path) -> None:
    project(tmp_path, '[tool.milepost]\nstore = "sqlite:///project.db"')
    assert Settings({"MILEPOST_STORE": ""}, tmp_path).store(None) == "sqlite:///project.db"


def test_the_nearest_project_upwards_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    project(tmp_path, '[tool.milepost]\nstore = "sqlite:///outer.db"')
    assert Settings({}, inner).store(None) == "sqlite:///outer.db"
    project(tmp_path / "a", '[tool.milepost]\nstore = "sqlite:///inner.db"')
    assert Settings({}, inner).store(None) == "sqlite:///inner.db"


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "tool = 1", "[tool.other]\nx = 1"])
def test_a_project_that_says_nothing_of_milepost_is_passed_over(tmp_path: Path, text: str) -> None:
    project(tmp_path, text)
    with pytest.raises(UsageError, match=r"no store is named: give --store .* MILEPOST_STORE.*pyproject\.toml"):
        Settings({}, tmp_path).store(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool", "pyproject.toml is not TOML"),
        ("[tool]\nmilepost = 1", r"write \[tool.milepost\] above"),
        ('[tool.milepost]\nstor = "x"', "has no setting 'stor'; it has app and store"),
        ("[tool.milepost]\nstore = 1", "store of .* must be a text in quotes"),
    ],
)
def test_a_project_that_is_badly_written_is_refused_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    project(tmp_path, text)
    with pytest.raises(UsageError, match=message) as refused:
        Settings({}, tmp_path).store(None)
    assert str(tmp_path / "pyproject.toml") in str(refused.value)


def test_a_project_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"pyproject\.toml cannot be read"):
        Settings({}, tmp_path).app(None)
