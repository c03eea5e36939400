"""Elements of the datatype BYTES: each is its length in four bytes, little-endian, and the bytes themselves."""

from collections.abc import Iterable, Sequence

from service.errors import InvalidArgumentError

LENGTH = 4  # bytes of the length of an element


def pack(texts: Iterable[str]) -> bytes:
    """Texts as elements in UTF-8."""
    elements = [text.encode() for text in texts]
    return b"".join(len(element).to_bytes(LENGTH, "little") + element for element in elements)


def unpack(raw: bytes, field: str) -> list[str]:
    """Elements as texts. Raises InvalidArgumentError for damaged lengths, and for what is not UTF-8."""
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + LENGTH], "little")
        at += LENGTH
        if at + size > len(raw):
            raise InvalidArgumentError(
                f"{field}: an element goes beyond the end of the data", field=f"{field}.contents"
            )
        found.append(raw[at : at + size])
        at += size
    return decoded(found, field)


def decoded(elements: Sequence[bytes], field: str) -> list[str]:
    """Elements as texts. Raises InvalidArgumentError for what is not UTF-8."""
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{field}: an element is not UTF-8", field=f"{field}.contents") from error
