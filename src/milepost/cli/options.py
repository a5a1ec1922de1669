"""The options that several commands have, each with its help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

App: TypeAlias = Annotated[
    str | None, Parameter(name="--app", help="The tasks, as package.module:tasks. Or MILEPOST_APP.")
]
Store: TypeAlias = Annotated[str | None, Parameter(name="--store", help="The store's URL. Or MILEPOST_STORE.")]
AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON, for programs.")]
