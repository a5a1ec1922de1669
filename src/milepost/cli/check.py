"""`milepost check`: whether an app's code can read what a store holds."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Parameter

from milepost.cli.ends import ExitCode, UsageError
from milepost.cli.options import App, AsJson, Store
from milepost.cli.output import json_text
from milepost.cli.settings import Settings
from milepost.cli.target import load_tasks
from milepost.client import check_compatibility_blocking
from milepost.stores.open import connect_to_read, is_memory


def check(
    *,
    app: App = None,
    store: Store = None,
    final: Annotated[
        bool, Parameter(negative=(), help="Look at ended tasks too, with their results and errors.")
    ] = False,
    shared: Annotated[
        bool, Parameter(negative=(), help="Other apps use the store: rows of tasks that this one lacks are no finding.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Decode every live task of a store with the code of an app, and change nothing; exit code 1 if any cannot be read.

    Needs the right to read and no other. Run it with new code before that is deployed.
    """
    settings = Settings.here()
    target, url = settings.app(app), settings.store(store)
    if is_memory(url):
        raise UsageError(
            "a store in memory is empty when a program starts; name a SQLite file or a PostgreSQL database"
        )
    tasks = load_tasks(target)
    reading = connect_to_read(url)
    try:
        report = check_compatibility_blocking(reading, tasks, final=final)
    finally:
        reading.close()
    is_good = report.is_compatible if shared else report.is_clean
    print(json_text({"is_clean": is_good, **attrs.asdict(report)}) if as_json else report)
    return ExitCode.DONE if is_good else ExitCode.FAILED
