"""What names and keys are made of: what every database holds and every person can type."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_KEY_CHARACTERS_MAX: Final = 200

NAME_RULE: Final = "1 to 200 letters, digits, '_', '.', ':' or '-'"
KEY_RULE: Final = f"1 to {_KEY_CHARACTERS_MAX} characters of text"


def is_name(name: object) -> bool:
    """Whether it keeps to `NAME_RULE`.

    >>> is_name("order:paid"), is_name("order paid"), is_name("")
    (True, False, False)
    """
    return type(name) is str and _NAME.fullmatch(name) is not None


def is_key(text: object) -> bool:
    r"""Whether it keeps to `KEY_RULE`, and every database holds it.

    >>> is_key("order 7 (ü)"), is_key("a\0b"), is_key("\ud800"), is_key("x" * 201)
    (True, False, False, False)
    """
    if type(text) is not str or not 1 <= len(text) <= _KEY_CHARACTERS_MAX or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
