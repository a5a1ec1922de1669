"""How the program ends: its exit codes, and which of them an exception means."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from milepost.errors import (
    ConfigurationError,
    CopyDiffers,
    CopyRefused,
    MilepostError,
    SchemaOld,
    StoreError,
    StoreUrlError,
    TaskDefinitionError,
)

_SETTING: Final = re.compile(r"ExecutorConfig\.(\w+)")


class ExitCode(IntEnum):
    """What the program tells its caller."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    STORE = 5
    INTERRUPTED = 130


class UsageError(MilepostError):
    """The program was called in a way that cannot work; the message says what to write in its place."""


def exit_code_of(error: MilepostError) -> ExitCode:
    """Which end `error` is."""
    match error:
        case UsageError() | ConfigurationError() | TaskDefinitionError() | StoreUrlError():
            return ExitCode.USAGE
        case CopyRefused():
            return ExitCode.REFUSED
        case CopyDiffers():
            return ExitCode.FAILED
        case StoreError():
            return ExitCode.STORE
        case _:
            return ExitCode.FAILED


def told(error: MilepostError) -> str:
    """The error as one line, in the words of the command line."""
    line = " ".join(str(error).split())
    if isinstance(error, SchemaOld):
        line += " (or run `milepost db migrate`)"
    return _SETTING.sub(lambda found: "--" + found[1].replace("_", "-"), line)
