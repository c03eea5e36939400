"""Immutable dataclasses as JSON, between the processes of a server and in its files."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

Record = TypeVar("Record")


def to_json(record: object) -> str:
    """A dataclass as JSON text that `from_json` reads."""
    return msgspec.json.encode(record, enc_hook=_encode).decode()


def from_json(text: str | bytes, kind: type[Record]) -> Record:
    """The dataclass that `to_json` wrote. Raises ValueError where the text is not that of such a dataclass."""
    try:
        return msgspec.json.decode(text, type=kind, dec_hook=_decode)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def _encode(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _decode(kind: type[Any], value: Any) -> Any:
    if issubclass(kind, Path):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} has no form in JSON")
