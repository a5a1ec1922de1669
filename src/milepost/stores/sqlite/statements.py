"""The SQL of this package, read once: one statement per file in `queries`."""

from __future__ import annotations

from importlib.resources import files

_FOLDER = files("milepost.stores.sqlite") / "queries"


def statement(name: str) -> str:
    """The statement in `queries/NAME.sql`, without the comment at its top: drivers look at its first word."""
    lines = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))
