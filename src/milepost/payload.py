"""Canonical JSON: the only form in which a payload is stored.

In comes a JSON value, out goes text with sorted keys and no white space, or a refusal that names the path of what
cannot be kept: NaN and infinities, lone surrogates, NUL, keys that are not text, too deep, too large.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NewType, TypeAlias, cast, final

from attrs import frozen
from returns.result import Failure, Result, Success

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonText = NewType("JsonText", str)

PAYLOAD_BYTES_MAX = 1 << 20
PAYLOAD_BYTES_LIMIT = 1 << 26
"""The most that a task may ask for: PostgreSQL's jsonb takes four times as much."""
PAYLOAD_DEPTH_MAX = 64
_INTEGER_DIGITS_MAX = 4_000
_MESSAGE_CHARACTERS_MAX = 500
_INTEGER_BOUND = 10**_INTEGER_DIGITS_MAX

_encoder = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def _text_writer() -> Callable[[Any], str]:
    # JSONEncoder builds its C encoder anew at each call, which takes longer than a small value itself. Where there is
    # such an encoder, it is built once, with the settings of `_encoder`.
    build: Any = getattr(json.encoder, "c_make_encoder", None)
    quote: Any = getattr(json.encoder, "encode_basestring", None)
    if build is None or quote is None:
        return _encoder.encode
    encode: Callable[[Any, int], tuple[str, ...]] = build(
        None, _encoder.default, quote, None, ":", ",", True, False, False
    )
    return lambda value: "".join(encode(value, 0))


_to_text = _text_writer()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    if math.isfinite(number := float(text)):
        return number
    raise ValueError("a number is larger than any float")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse_json_text(text: str) -> Any:
    """`from_json_text` for those who handle what it raises anyway: ValueError, TypeError, RecursionError."""
    # Canonical text is its value and nothing else; JSON of another hand may be led, or followed, by white space.
    try:
        value, end = _decoder.raw_decode(text)
    except json.JSONDecodeError:
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


def legible(error: Exception) -> str:
    """What `error` says, in a few words that every database holds, whatever user code or hostile data made it say."""
    try:
        text = str(error) or type(error).__name__
    except Exception:
        text = type(error).__name__
    return storable_text(text[:_MESSAGE_CHARACTERS_MAX])


def storable_text(text: str) -> str:
    """Without what no database can hold: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


@final
@frozen
class PayloadRefused:
    """A payload that cannot be stored or read: where it is wrong, as in `$.rows[3].at`, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def to_json_text(
    value: Json, *, bytes_max: int = PAYLOAD_BYTES_MAX, depth_max: int = PAYLOAD_DEPTH_MAX
) -> Result[JsonText, PayloadRefused]:
    """Write `value` as canonical JSON, or say what of it cannot be stored; limits: UTF-8 bytes, nested containers.

    >>> to_json_text({"b": 1, "a": [True, None]}).unwrap()
    '{"a":[true,null],"b":1}'
    >>> str(to_json_text({"ratio": [1.0, float("nan")]}).failure())
    '$.ratio[1]: nan is not a JSON number'
    """
    written = write_json(value, bytes_max=bytes_max, depth_max=depth_max)
    return Failure(written) if isinstance(written, PayloadRefused) else Success(written)


def write_json(
    value: Json, *, bytes_max: int, depth_max: int, keys_are_text: bool = False
) -> JsonText | PayloadRefused:
    """`to_json_text` for those who write very many: a bare union, and no walk for keys that are known to be text."""
    try:
        text = _to_text(value)
        plain = text.isascii() or bool(text.encode())
    except (ValueError, TypeError, RecursionError):  # UnicodeEncodeError is a ValueError
        return _first_fault(value, depth_max)
    # Cheap tests that can only err towards looking closer: the exact walk is left to values that might be wrong.
    shallow = len(text) <= depth_max or text.count("[") + text.count("{") <= depth_max
    if plain and shallow and "\\u0000" not in text and (keys_are_text or _keys_are_text(value)):
        if len(text) * 4 <= bytes_max or len(text.encode()) <= bytes_max:
            return JsonText(text)
        return _too_long(text, bytes_max)
    for fault in _faults(value, "$", 0, depth_max):
        return fault
    if len(text.encode()) > bytes_max:
        return _too_long(text, bytes_max)
    return JsonText(text)


def from_json_text(text: str) -> Result[Json, PayloadRefused]:
    """Read stored JSON text; damaged text is a refusal, never an exception.

    >>> from_json_text('{"a":').failure().path
    '$'
    """
    try:
        return Success(_decoder.decode(text))
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(PayloadRefused("$", f"not JSON: {error}"))


def contains(whole: Json, part: Json) -> bool:
    """Whether `part` is in `whole`: objects by their named fields, arrays by each element, the rest by equality.

    The meaning of PostgreSQL's `jsonb @>`, without its exception for a lone scalar.

    >>> contains({"order": {"id": 42, "paid": True}}, {"order": {"id": 42}})
    True
    >>> contains([1, 2, 3], [3, 1]), contains({"id": 1}, {"id": True})
    (True, False)
    """
    match part:
        case dict():
            return isinstance(whole, dict) and all(k in whole and contains(whole[k], v) for k, v in part.items())
        case list():
            return isinstance(whole, list) and all(any(contains(have, want) for have in whole) for want in part)
        case _:
            return isinstance(whole, bool) is isinstance(part, bool) and whole == part


def _keys_are_text(value: object) -> bool:
    # The encoder writes 1 and None as the keys "1" and "null" without a word.
    if isinstance(value, dict):
        return all(isinstance(key, str) and _keys_are_text(item) for key, item in cast("Any", value.items()))
    return not isinstance(value, list | tuple) or all(map(_keys_are_text, cast("list[object]", value)))


def _too_long(text: str, bytes_max: int) -> PayloadRefused:
    return PayloadRefused("$", f"{len(text.encode())} bytes, the limit is {bytes_max} (payload_bytes_max)")


def _first_fault(value: Json, depth_max: int) -> PayloadRefused:
    for fault in _faults(value, "$", 0, depth_max):
        return fault
    return PayloadRefused("$", f"a {type(value).__name__} cannot be written as JSON")


def _faults(value: Any, path: str, depth: int, depth_max: int) -> Iterator[PayloadRefused]:
    if isinstance(value, dict | list | tuple) and depth >= depth_max:
        yield PayloadRefused(path, f"nested deeper than {depth_max} levels")
        return
    match value:
        case None | bool():
            pass
        case str():
            yield from _text_faults(value, path)
        case int():
            if abs(value) >= _INTEGER_BOUND:
                yield PayloadRefused(path, f"an integer of more than {_INTEGER_DIGITS_MAX} digits")
        case float():
            if not math.isfinite(value):
                yield PayloadRefused(path, f"{value} is not a JSON number")
        case list() | tuple():  # the encoder writes tuples as arrays
            for index, item in enumerate(cast("list[object]", value)):
                yield from _faults(item, f"{path}[{index}]", depth + 1, depth_max)
        case dict():
            for key, item in cast("dict[object, object]", value).items():
                if not isinstance(key, str):
                    yield PayloadRefused(path, f"the key {key!r} is not text")
                    continue
                yield from _text_faults(key, f"{path} (a key)")
                yield from _faults(item, f"{path}.{key}", depth + 1, depth_max)
        case _:
            yield PayloadRefused(path, f"a {type(value).__name__} is not a JSON value")


def _text_faults(text: str, path: str) -> Iterator[PayloadRefused]:
    if "\0" in text:
        yield PayloadRefused(path, "text with a NUL character, which databases cut or refuse")
    elif not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            yield PayloadRefused(path, f"text with a lone surrogate at character {error.start}")
