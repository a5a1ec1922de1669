"""The `milepost` program: what it takes to run and to look after a store, from a shell."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """The entry point of the program."""
    if importlib.util.find_spec("cyclopts") is None:
        print("milepost: the command line needs cyclopts: pip install 'milepost[cli]'", file=sys.stderr)
        sys.exit(2)
    from milepost.cli.app import run

    sys.exit(run())
