"""What it means that a text stands in a task, as one regular expression for Python and for PostgreSQL.

Databases disagree about upper and lower case, by version, by locale, and SQLite knows only English letters. So each
letter is written out in both cases, and no engine is asked to ignore them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from milepost.crash import Crash
from milepost.payload import to_json_text

NOTHING = "$^a"
"""What matches nowhere, in either engine."""
_PATTERNS_KEPT = 64


def pattern_of(texts: Sequence[str]) -> str:
    """What matches where one of `texts` stands, as it is or as it stands in JSON.

    >>> pattern_of(["a(é"])
    '[aA]\\\\([éÉ]'
    """
    forms = (form for text in texts for form in (text, to_json_text(text).unwrap()[1:-1]))
    return "|".join(dict.fromkeys("".join(map(_either_case, form)) for form in forms)) or NOTHING


def stands_in(pattern: str, crash: str | None, *texts: str | None) -> bool:
    """Whether `pattern` matches in one of the texts, or in the type or message of a stored crash."""
    search = _search(pattern)
    if any(text is not None and search(text) for text in texts):
        return True
    if crash is None:
        return False
    told = Crash.from_json_text(crash)
    return bool(search(told.type_name) or search(told.message))


@lru_cache(_PATTERNS_KEPT)
def _search(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern).search


def _either_case(character: str) -> str:
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    single = [case for case in cases if len(case) == 1]
    return re.escape(character) if len(single) == 1 else f"[{''.join(single)}]"
