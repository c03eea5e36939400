"""Limits on the length and the number of texts in a request, the same for every field but the elements of tensors."""

from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from service.errors import InvalidArgumentError

LONGEST = 1_024  # characters of a name, a reason, or any other text
MOST = 4_096  # texts or messages in one list
ELEMENTS = frozenset({"unroll.v1.Tensor.strings"})  # elements of a tensor, which have Limits.characters and .elements
SHOWN = 40  # characters of a text that is too long, in the error


class _Field(NamedTuple):
    name: str
    text: bool  # else a message
    repeated: bool
    map: bool


def check_texts(message: Message, path: str = "") -> None:
    """Raises InvalidArgumentError for a text or a list of `message` that is too long; names the field, shows little."""
    for field in _fields(message.DESCRIPTOR):
        if not (field.repeated or field.text or message.HasField(field.name)):
            continue
        where, value = f"{path}{field.name}", getattr(message, field.name)
        if field.map:
            _check_count(len(value), where)
            for key in value:
                inside = f"{where}[{_short(str(key))}]"
                _check(key, inside)
                _check(value[key], inside)
        elif field.repeated:
            _check_count(len(value), where)
            for i, element in enumerate(value):
                _check(element, f"{where}[{i}]")
        else:
            _check(value, where)


def _check(value: Any, where: str) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise InvalidArgumentError(
                f"{where}: {len(value)} characters, the limit is {LONGEST}; it begins with {value[:SHOWN]!r}",
                field=where,
                limit=LONGEST,
                actual=len(value),
            )
    elif isinstance(value, Message):
        check_texts(value, f"{where}.")


def _check_count(count: int, where: str) -> None:
    if count > MOST:
        raise InvalidArgumentError(
            f"{where}: {count} elements, the limit is {MOST}", field=where, limit=MOST, actual=count
        )


@lru_cache(1_024)
def _fields(descriptor: Descriptor) -> tuple[_Field, ...]:
    """The fields of a message that hold texts or messages. Others, as elements of tensors, are not touched."""
    return tuple(
        _Field(
            field.name,
            field.type == field.TYPE_STRING,
            field.is_repeated,
            field.message_type is not None and field.message_type.GetOptions().map_entry,
        )
        for field in descriptor.fields
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE) and field.full_name not in ELEMENTS
    )


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
