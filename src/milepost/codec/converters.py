"""cattrs converters that change nothing on the way: every value is checked against its declared type, both ways.

cattrs would turn "7" into 7, explode a string into a list and ignore fields it does not know; a store must not. Members
of a union that JSON cannot tell apart are tagged with `$type`, automatically.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal, Never, cast, get_args, get_origin

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from milepost.codec.choices import enum_decoder, enum_encoder, literal_decoder, literal_encoder
from milepost.codec.scalars import (
    SCALAR_HOOKS,
    Decode,
    Encode,
    WrongValue,
    exactly_text,
    is_exactly,
    json_value,
    not_a,
    shown,
    to_float,
)
from milepost.codec.usable import (
    LISTS,
    MAPPINGS,
    PRIMITIVES,
    SETS,
    TUPLES,
    NoneType,
    fields_of,
    is_alias,
    is_class,
    is_dictionary,
    is_enum,
    is_json,
    is_union,
    members_of,
    parts_of,
    required_fields,
    runtime_class,
    unwrapped,
)
from milepost.kinds import is_a

TAG = "$type"
VALUE = "$value"


def make_converter() -> Converter:
    """A fresh converter with all of milepost's rules."""
    converter = Converter(detailed_validation=False, forbid_extra_keys=True)
    for type_, (encode, decode) in SCALAR_HOOKS.items():
        converter.register_unstructure_hook(type_, encode)
        converter.register_structure_hook(type_, decode)
    for predicate, encoder, decoder in _FACTORIES:
        converter.register_unstructure_hook_factory(predicate, encoder)
        converter.register_structure_hook_factory(predicate, decoder)
    return converter


def prepare(converter: Converter, type_: Any) -> None:
    """Teach `converter` the enums in `type_`: the hooks of int and str would be taken for an IntEnum and a StrEnum."""
    for part in parts_of(type_):
        if is_enum(part):
            converter.register_unstructure_hook(part, enum_encoder(part, converter))
            converter.register_structure_hook(part, enum_decoder(part, converter))


def encoder_of(converter: Converter, type_: Any) -> Encode:
    """The hook for `type_`; looked up at each call where a class contains itself and its hook is still being made."""
    try:
        return converter.get_unstructure_hook(type_)
    except RecursionError:
        return lambda value: converter.unstructure(value, type_)


def decoder_of(converter: Converter, type_: Any) -> Decode:
    """The decoding twin of `encoder_of`."""
    try:
        return converter.get_structure_hook(type_)
    except RecursionError:
        return lambda value, declared: converter.structure(value, declared)


def _class_encoder(type_: Any, converter: Converter) -> Encode:
    origin = get_origin(type_) or type_
    encode_fields = make_dict_unstructure_fn(type_, converter)

    def encode(value: Any) -> Any:
        if type(value) is origin:
            return encode_fields(value)
        raise not_a(origin.__qualname__, value)

    return encode


def _class_decoder(type_: Any, converter: Converter) -> Decode:
    decode_fields = make_dict_structure_fn(
        type_, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=False
    )

    def decode(value: Any, declared: Any) -> Any:
        if is_exactly(value, dict):
            return decode_fields(value, declared)
        raise not_a(f"object with the fields of {getattr(type_, '__qualname__', type_)}", value)

    return decode


def _dictionary_fields(type_: Any) -> tuple[Mapping[str, Any], frozenset[str], str]:
    origin = get_origin(type_) or type_
    return fields_of(type_), frozenset(required_fields(type_)), origin.__qualname__


def _check_keys(found: Any, fields: Mapping[str, Any], required: frozenset[str], name: str) -> None:
    if not required <= found.keys():
        raise KeyError(min(required - found.keys()))
    if not found.keys() <= fields.keys():
        raise WrongValue(f"has keys that {name} does not know: {', '.join(sorted(map(str, found - fields.keys())))}")


def _dictionary_encoder(type_: Any, converter: Converter) -> Encode:
    fields, required, name = _dictionary_fields(type_)

    def encode(value: Any) -> Any:
        if not is_exactly(value, dict):
            raise not_a(f"dict with the keys of {name}", value)
        _check_keys(value, fields, required, name)
        return {key: converter.unstructure(item, fields[key]) for key, item in value.items()}

    return encode


def _dictionary_decoder(type_: Any, converter: Converter) -> Decode:
    fields, required, name = _dictionary_fields(type_)

    def decode(value: Any, _: Any) -> Any:
        if not is_exactly(value, dict):
            raise not_a(f"object with the keys of {name}", value)
        _check_keys(value, fields, required, name)
        return {key: converter.structure(item, fields[key]) for key, item in value.items()}

    return decode


def _item_type(type_: Any) -> Any:
    return (get_args(type_) or (Any,))[0]


def _list_encoder(type_: Any, converter: Converter) -> Encode:
    item = encoder_of(converter, _item_type(type_))

    def encode(value: Any) -> Any:
        if is_exactly(value, list):  # for a Sequence too: a tuple would come back as a list
            return [item(each) for each in value]
        raise not_a("list", value)

    return encode


def _list_decoder(type_: Any, converter: Converter) -> Decode:
    inner = _item_type(type_)
    item = decoder_of(converter, inner)

    def decode(value: Any, _: Any) -> Any:
        if is_exactly(value, list):
            return [item(each, inner) for each in value]
        raise not_a("list", value)

    return decode


def _tuple_types(type_: Any, length: int) -> Sequence[Any]:
    arguments = get_args(type_)
    if not hasattr(type_, "__args__"):  # which tells tuple from tuple[()]
        return (Any,) * length
    if len(arguments) == 2 and arguments[1] is ...:
        return (arguments[0],) * length
    if len(arguments) != length:
        raise WrongValue(f"expected {len(arguments)} items, got {length}")
    return arguments


def _tuple_encoder(type_: Any, converter: Converter) -> Encode:
    def encode(value: Any) -> Any:
        if not is_exactly(value, tuple):
            raise not_a("tuple", value)
        items = value
        return [converter.unstructure(v, t) for v, t in zip(items, _tuple_types(type_, len(items)), strict=True)]

    return encode


def _tuple_decoder(type_: Any, converter: Converter) -> Decode:
    def decode(value: Any, _: Any) -> Any:
        if not is_exactly(value, list):
            raise not_a("list for a tuple", value)
        items = value
        return tuple(converter.structure(v, t) for v, t in zip(items, _tuple_types(type_, len(items)), strict=True))

    return decode


def _set_encoder(type_: Any, converter: Converter) -> Encode:
    item = encoder_of(converter, _item_type(type_))

    def encode(value: Any) -> Any:
        if is_a(value, Set):
            # Canonical text needs an order, and what is in the set need not be comparable.
            return sorted((item(each) for each in value), key=lambda plain: json.dumps(plain))
        raise not_a("set", value)

    return encode


def _set_decoder(type_: Any, converter: Converter) -> Decode:
    inner = _item_type(type_)
    item = decoder_of(converter, inner)
    build = cast("Callable[[Any], Any]", set if (get_origin(type_) or type_) is set else frozenset)

    def decode(value: Any, _: Any) -> Any:
        if is_exactly(value, list):
            return build(item(each, inner) for each in value)
        raise not_a("list for a set", value)

    return decode


def _mapping_types(type_: Any) -> tuple[Any, Any]:
    arguments = get_args(type_)
    return (arguments[0], arguments[1]) if arguments else (str, Any)


def _mapping_encoder(type_: Any, converter: Converter) -> Encode:
    key_type, value_type = _mapping_types(type_)
    item = encoder_of(converter, value_type)
    key = exactly_text if is_json(unwrapped(key_type)) else encoder_of(converter, key_type)

    def encode(value: Any) -> Any:
        if is_a(value, Mapping):
            return {str(key(k)): item(v) for k, v in value.items()}
        raise not_a("mapping", value)

    return encode


def _mapping_decoder(type_: Any, converter: Converter) -> Decode:
    key_type, value_type = _mapping_types(type_)
    item = decoder_of(converter, value_type)
    plain_key = unwrapped(key_type)
    numeric = plain_key is int or (is_enum(plain_key) and all(type(m.value) is int for m in plain_key))

    def decode(value: Any, _: Any) -> Any:
        if not is_exactly(value, dict):
            raise not_a("object", value)
        pairs = value.items()
        return {converter.structure(_integer(k) if numeric else k, key_type): item(v, value_type) for k, v in pairs}

    return decode


def _integer(key: str) -> int:
    # Two spellings of one number would become one key, and one of the two values would be lost.
    if str(number := int(key)) == key:
        return number
    raise WrongValue(f"the key {shown(key)} is not an integer", bare="a key is not an integer")


def split_union(type_: Any) -> tuple[dict[type, Any], dict[str, Any]]:
    """A union's members: those that JSON tells apart, by class, and those that need a tag, by tag."""
    members = {runtime_class(member): member for member in members_of(type_)}
    others = [cls for cls in members if cls not in (NoneType, *PRIMITIVES, list)]
    if len(members) - (NoneType in members) == 1 or others == [dict]:
        return members, {}
    return (
        {cls: m for cls, m in members.items() if cls not in others},
        {cls.__name__: members[cls] for cls in others},
    )


def _union_encoder(type_: Any, converter: Converter) -> Encode:
    plain, tagged = split_union(type_)
    hooks = {cls: encoder_of(converter, member) for cls, member in plain.items()}
    if float in hooks:
        hooks.setdefault(int, hooks[float])
    tags: dict[type, tuple[str, Any]] = {runtime_class(member): (tag, member) for tag, member in tagged.items()}
    if frozenset in tags:
        tags.setdefault(set, tags[frozenset])

    def encode(value: Any) -> Any:
        hook = hooks.get(value.__class__)
        if hook is not None:
            return hook(value)
        if type(value) not in tags:
            # What is left are values whose class is not the declared one: of a Mapping, of a Set, or wrong ones.
            if len(hooks) - (NoneType in hooks) == 1 and not tags:
                return next(h for cls, h in hooks.items() if cls is not NoneType)(value)
            raise not_a(str(type_), value)
        tag, member = tags[type(value)]
        encoded = converter.unstructure(value, member)
        return {TAG: tag, **encoded} if is_class(member) else {TAG: tag, VALUE: encoded}

    return encode


def _union_decoder(type_: Any, converter: Converter) -> Decode:
    plain, tagged = split_union(type_)
    alone = [member for cls, member in plain.items() if cls is not NoneType] if not tagged else []

    def decode(value: Any, _: Any) -> Any:
        if value is None and NoneType in plain:
            return None
        if len(alone) == 1:
            return converter.structure(value, alone[0])
        if value.__class__ in plain:
            return converter.structure(value, plain[value.__class__])
        if is_exactly(value, int) and float in plain:
            return to_float(value)
        tag, rest = _untagged(value, type_)
        if not is_exactly(tag, str) or tag not in tagged:
            known = f"is none of {sorted(tagged)}"
            raise WrongValue(f"the type {shown(tag)} {known}", bare=f"the type {_name_of(tag)} {known}")
        if is_class(tagged[tag]):
            return converter.structure(rest, tagged[tag])
        if rest.keys() != {VALUE}:
            why = f"a {tag} is written with {TAG} and {VALUE}"
            raise WrongValue(f"{why}, got {shown(sorted(rest))}", bare=why)
        return converter.structure(rest[VALUE], tagged[tag])

    return decode


def _name_of(tag: Any) -> str:
    return repr(tag) if is_exactly(tag, str) and tag.isidentifier() and len(tag) <= 100 else "of its tag"


def _untagged(value: Any, union: Any) -> tuple[Any, dict[str, Any]]:
    if not is_exactly(value, dict) or TAG not in value:
        raise not_a(f"one of {union}", value)
    fields = dict(value)
    return fields.pop(TAG), fields


def _alias_encoder(type_: Any, converter: Converter) -> Encode:
    return lambda value: converter.unstructure(value, type_.__value__)  # looked up late: an alias may be in itself


def _alias_decoder(type_: Any, converter: Converter) -> Decode:
    return lambda value, _: converter.structure(value, type_.__value__)


def _never_encoder(type_: Any, converter: Converter) -> Encode:
    def encode(value: Any) -> Any:
        raise not_a("nothing, the task declares none", value)

    return encode


def _never_decoder(type_: Any, converter: Converter) -> Decode:
    refuse = _never_encoder(type_, converter)
    return lambda value, _: refuse(value)


def _json_encoder(type_: Any, converter: Converter) -> Encode:
    return json_value


def _json_decoder(type_: Any, converter: Converter) -> Decode:
    return lambda value, _: value


def _origin_in(origins: tuple[Any, ...]) -> Callable[[Any], bool]:
    return lambda type_: (get_origin(type_) or type_) in origins


# Registered in this order; cattrs asks the last registered first.
_FACTORIES: tuple[tuple[Callable[[Any], bool], Any, Any], ...] = (
    (is_class, _class_encoder, _class_decoder),
    (is_dictionary, _dictionary_encoder, _dictionary_decoder),
    (is_alias, _alias_encoder, _alias_decoder),
    (is_enum, enum_encoder, enum_decoder),
    (lambda type_: get_origin(type_) is Literal, literal_encoder, literal_decoder),
    (_origin_in(LISTS), _list_encoder, _list_decoder),
    (_origin_in(TUPLES), _tuple_encoder, _tuple_decoder),
    (_origin_in(SETS), _set_encoder, _set_decoder),
    (_origin_in(MAPPINGS), _mapping_encoder, _mapping_decoder),
    (is_union, _union_encoder, _union_decoder),
    (is_json, _json_encoder, _json_decoder),
    (lambda type_: type_ is Never, _never_encoder, _never_decoder),
)
