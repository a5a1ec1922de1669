"""Which SQLite libraries there are, by the names that a URL gives them."""

from __future__ import annotations

from typing import Final

from milepost.stores.sqlite.driver import Driver

LIBRARIES: Final = ("apsw", "sqlite3")


def driver_of(library: str) -> Driver:
    """The driver of that name, imported only now: programs need only the library that they use."""
    if library == "sqlite3":
        from milepost.stores.sqlite.stdlib_driver import StdlibDriver

        return StdlibDriver()
    from milepost.stores.sqlite.apsw_driver import ApswDriver

    return ApswDriver()
