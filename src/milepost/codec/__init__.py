"""Between a task's types and canonical JSON: values in, text out, and back, or a refusal that names the path.

Types come from the registered task only, never from names in data. A codec is built once per type, when the task is
defined; a type that could not make the journey is refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast, final

import attrs
from attrs import frozen
from cattrs import Converter
from returns.result import Failure, Result, Success

from milepost.codec.converters import make_converter, prepare
from milepost.codec.faults import Fault, locate_decoding, locate_encoding
from milepost.codec.secrets import MASK, has_secrets, masked, secrets_of, texts_in
from milepost.codec.usable import problem_with
from milepost.payload import (
    PAYLOAD_BYTES_LIMIT,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX,
    Json,
    JsonText,
    PayloadRefused,
    from_json_text,
    parse_json_text,
    to_json_text,
    write_json,
)

T = TypeVar("T")


@final
@frozen(eq=False)
class TypeCodec(Generic[T]):
    """Encodes and decodes the values of one type."""

    type: Any
    converter: Converter = attrs.field(repr=False)
    bytes_max: int = PAYLOAD_BYTES_MAX
    depth_max: int = PAYLOAD_DEPTH_MAX
    has_secrets: bool = attrs.field(init=False)
    _unstructure: Any = attrs.field(init=False, repr=False)
    _structure: Any = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "has_secrets", has_secrets(self.type))
        object.__setattr__(self, "_unstructure", self.converter.get_unstructure_hook(self.type))
        object.__setattr__(self, "_structure", self.converter.get_structure_hook(self.type))

    def encode(self, value: object) -> Result[JsonText, PayloadRefused]:
        """Canonical JSON text of `value`, or where and why it is not a storable value of this type."""
        written = self.write(value)
        return Failure(written) if isinstance(written, PayloadRefused) else Success(written)

    def write(self, value: object) -> JsonText | PayloadRefused:
        """`encode` as a bare union, for what is done for every task."""
        try:
            plain = self._unstructure(value)
        except Exception:  # a property or a conversion of the user's class may raise anything
            return locate_encoding(self.converter, value, self.type).refusal
        # The hooks have made every key themselves, out of text.
        written = write_json(plain, bytes_max=self.bytes_max, depth_max=self.depth_max, keys_are_text=True)
        if self.has_secrets and isinstance(written, PayloadRefused):
            return _up_to_secret(written, secrets_of(plain, self.type))
        return written

    def decode(self, text: str) -> Result[T, PayloadRefused]:
        """The value that `text` holds, or where and why it does not hold one."""
        try:
            return Success(self.read(text))
        except Exception:  # a validator of the user's class may raise anything
            return Failure(self._why_not(text))

    def read(self, text: str) -> T:
        """`decode` for what is most likely sound: raises anything at all for what is not."""
        return cast("T", self._structure(parse_json_text(text), self.type))

    def fault_of(self, text: str) -> Fault | None:
        """What is wrong with `text`, and where; None when it can be read."""
        try:
            self.read(text)
        except Exception:  # as of `decode`
            return self._fault(text)
        return None

    def shown(self, text: str) -> Json:
        """What people may see of a stored payload: its JSON value, with a mask for each secret.

        Never raises. Of damaged text nothing is shown if the type has secrets, else the text itself.
        """
        if not self.has_secrets:
            return from_json_text(text).value_or(text)
        try:
            self.read(text)
            return masked(parse_json_text(text), self.type)
        except Exception:  # as of `decode`
            return MASK

    def masked(self, text: JsonText) -> JsonText:
        """`shown` as canonical JSON text; `text` itself if the type has no secrets."""
        if not self.has_secrets:
            return text
        return to_json_text(self.shown(text), bytes_max=PAYLOAD_BYTES_LIMIT).value_or(JsonText(f'"{MASK}"'))

    def secrets_in(self, text: str) -> frozenset[str]:
        """The texts by which the secrets in a payload would be known in a message; all of it where it is damaged."""
        if not self.has_secrets:
            return frozenset()
        plain: Json = from_json_text(text).value_or(text)
        try:
            self.read(text)
            found: Json = list(secrets_of(plain, self.type).values())
        except Exception:  # as of `decode`
            found = plain
        return frozenset(texts_in(found))

    def _why_not(self, text: str) -> PayloadRefused:
        return self._fault(text).refusal

    def _fault(self, text: str) -> Fault:
        match from_json_text(text):
            case Success(plain):
                return locate_decoding(self.converter, plain, self.type)
            case refused:
                told = refused.failure()
                return Fault(told.path, told.path, told.reason, "not JSON")


def _up_to_secret(refused: PayloadRefused, secrets: Mapping[str, Json]) -> PayloadRefused:
    """The refusal, cut at a secret that it stands in: keys of a secret mapping are part of the path to its values."""
    for path in secrets:
        if refused.path.startswith(path) and refused.path[len(path) :][:1] in ("", ".", "[", " "):
            return PayloadRefused(path, refused.reason)
    return refused


@final
@frozen(eq=False)
class CodecFactory:
    """Builds the codecs of one task over one converter."""

    converter: Converter = attrs.field(factory=make_converter)

    def codec(self, type: Any) -> TypeCodec[Any]:
        """The codec of `type`; raises TypeError with the problem when values of it could not make the journey."""
        problem = problem_with(type)
        if problem is not None:
            raise TypeError(problem)
        prepare(self.converter, type)
        return TypeCodec(type, self.converter)
