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


def shown(value: object) -> str:
    """A few characters of `value`, for a message.

    >>> shown("x" * 1_000)[:4]
    "'xxx"
    """
    try:
        text = repr(value)
    except Exception:  # of an integer with too many digits, or of a class of the user's
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 60 else f"{text[:57]}..."
