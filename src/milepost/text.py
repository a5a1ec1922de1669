"""Plain text for people: rows in columns, long lists cut short."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns as wide as they need to be.

    >>> print(table(["id", "n"], [["a", 10], ["bcd", 2]]))
    ID   N
    a    10
    bcd  2
    """
    lines = [[heading.upper() for heading in headings], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
