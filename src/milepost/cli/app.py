"""The commands as one program: reads its arguments, calls a command, and turns whatever happens into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from milepost.cli.check import check
from milepost.cli.database import database
from milepost.cli.ends import ExitCode, exit_code_of, told
from milepost.cli.executors import executor
from milepost.cli.run import run as run_command
from milepost.errors import MilepostError

app = App(
    name="milepost",
    help="Typed background tasks that resume from their last milepost.",
    version=lambda: version("milepost"),
    help_format="plaintext",
)
app.command(run_command, name="run")
app.command(check)
app.command(database)
app.command(executor)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit code; whatever is wrong is told in one line on standard error."""
    try:
        answer = app(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _end(f"{' '.join(str(error).split())} See `milepost --help`.", ExitCode.USAGE)
    except MilepostError as error:
        return _end(told(error), exit_code_of(error))
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; the interpreter must not try to write once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return answer if isinstance(answer, int) else ExitCode.DONE


def _end(why: str, code: ExitCode) -> int:
    print(f"milepost: {why}", file=sys.stderr)
    return code
