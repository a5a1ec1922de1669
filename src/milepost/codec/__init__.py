"""Between a task's types and canonical JSON: values in, text out, and back, or a refusal that names the path.

Types come from the registered task only, never from names in data. A codec is built once per type, when the task is
defined; a type that could not make the journey is refused there.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, final

import attrs
from attrs import frozen
from cattrs import Converter
from returns.result import Failure, Result, Success

from milepost.codec.converters import make_converter, prepare
from milepost.codec.faults import locate_decoding, locate_encoding
from milepost.codec.usable import problem_with
from milepost.payload import (
    PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX,
    JsonText,
    PayloadRefused,
    from_json_text,
    parse_json_text,
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
    _unstructure: Any = attrs.field(init=False, repr=False)
    _structure: Any = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
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
            return locate_encoding(self.converter, value, self.type)
        # The hooks have made every key themselves, out of text.
        return write_json(plain, bytes_max=self.bytes_max, depth_max=self.depth_max, keys_are_text=True)

    def decode(self, text: str) -> Result[T, PayloadRefused]:
        """The value that `text` holds, or where and why it does not hold one."""
        try:
            return Success(self.read(text))
        except Exception:  # a validator of the user's class may raise anything
            return Failure(self._why_not(text))

    def read(self, text: str) -> T:
        """`decode` for what is most likely sound: raises anything at all for what is not."""
        return cast("T", self._structure(parse_json_text(text), self.type))

    def _why_not(self, text: str) -> PayloadRefused:
        match from_json_text(text):
            case Success(plain):
                return locate_decoding(self.converter, plain, self.type)
            case refused:
                return refused.failure()


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
