"""Where the app and the store are: from a flag, else from the environment, else from `pyproject.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast, final

from attrs import frozen

from milepost.cli.ends import UsageError

_KEYS: Final = ("app", "store")


@final
@frozen
class Settings:
    """What a command was told beside its flags, and where."""

    environment: Mapping[str, str]
    folder: Path

    @classmethod
    def here(cls) -> Settings:
        """Those of this process."""
        return cls(os.environ, Path.cwd())

    def app(self, flag: str | None) -> str:
        """The app as `package.module:tasks`. Raises `UsageError`."""
        return self._setting("app", flag, "package.module:tasks")

    def store(self, flag: str | None) -> str:
        """The store's URL. Raises `UsageError`."""
        return self._setting("store", flag, "sqlite:///tasks.db")

    def _setting(self, key: str, flag: str | None, example: str) -> str:
        variable = f"MILEPOST_{key.upper()}"
        found = flag if flag is not None else self.environment.get(variable) or self._in_project().get(key)
        if not found:
            raise UsageError(
                f"no {key} is named: give --{key} {example}, or set {variable}, "
                f'or write {key} = "{example}" under [tool.milepost] in pyproject.toml'
            )
        return found

    def _in_project(self) -> dict[str, str]:
        """`[tool.milepost]` of the nearest `pyproject.toml`, upwards from here."""
        for folder in (self.folder, *self.folder.parents):
            path = folder / "pyproject.toml"
            if path.is_file():
                return _table_of(path)
        return {}


def _table_of(path: Path) -> dict[str, str]:
    try:
        whole: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    tool: object = whole.get("tool", {})
    table: object = cast("dict[str, object]", tool).get("milepost", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.milepost is not a table; write [tool.milepost] above its lines")
    settings: dict[str, str] = {}
    for key, value in cast("dict[str, object]", table).items():
        if key not in _KEYS:
            raise UsageError(f"{path}: [tool.milepost] has no setting {key!r}; it has {' and '.join(_KEYS)}")
        if not isinstance(value, str):
            raise UsageError(f"{path}: {key} of [tool.milepost] must be a text in quotes")
        settings[key] = value
    return settings
