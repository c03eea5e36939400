"""Bodies of requests and answers: bounded in size, time and memory, and compressed where that is said or asked for."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request

from service.errors import CancelledError, InvalidArgumentError, TimeLimitError
from service.web.rest.answers import BusyError, TooLargeError

LARGEST = 64 * 1024 * 1024  # bytes of a body, compressed and not
ALL = 4 * LARGEST  # bytes of all bodies that are being handled
SECONDS = 60.0  # in which a body has to arrive
WORTH_COMPRESSING = 1_024  # bytes
WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}  # of zlib, by the name of the encoding


class Bodies:
    """The memory that bodies take. Used by one event loop."""

    def __init__(self, most: int = ALL) -> None:
        self._most = most
        self._taken = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, decompressed; its memory is counted while the block runs.

        Raises TooLargeError, BusyError; TimeLimitError where it does not arrive in time; InvalidArgumentError for an
        encoding that is not known, or another one than it says.
        """
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self._taken + count > self._most:
                raise BusyError(f"the bodies of all requests have more than {self._most} bytes; try again")
            self._taken += count
            own += count

        try:
            encoding = request.headers.get("content-encoding", "identity").lower()
            if encoding != "identity" and encoding not in WINDOWS:
                raise InvalidArgumentError(
                    f"content-encoding: expected gzip, deflate or identity, got {encoding[:40]!r}"
                )
            body = bytearray()
            try:
                async with asyncio.timeout(SECONDS):
                    async for chunk in request.stream():
                        take(len(chunk))
                        body += chunk
                        if len(body) > LARGEST:
                            raise _too_large(len(body))
            except TimeoutError:
                raise TimeLimitError(f"the body did not arrive within {SECONDS:g} s") from None
            except ClientDisconnect:
                raise CancelledError("the caller has left") from None
            if encoding == "identity":
                yield bytes(body)
            else:
                take(LARGEST)  # until it is known how much it is
                unpacked = await to_thread.run_sync(decompressed, bytes(body), encoding)
                take(len(unpacked) - LARGEST)
                yield unpacked
        finally:
            self._taken -= own


def decompressed(body: bytes, encoding: str, most: int = LARGEST) -> bytes:
    """A body as it was before it was compressed. Raises InvalidArgumentError, TooLargeError."""
    unpacking = zlib.decompressobj(WINDOWS[encoding])
    try:
        unpacked = unpacking.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"the body is not {encoding}: {error}") from None
    if len(unpacked) > most:
        raise _too_large(len(unpacked))
    if not unpacking.eof or unpacking.unused_data:
        raise InvalidArgumentError(f"the body is not {encoding}: it ends early, or more follows")
    return unpacked


def compressed(body: bytes, accepted: str) -> tuple[bytes, str]:
    """A body and its encoding, which is empty where it stays as it is; `accepted` is a header Accept-Encoding."""
    if len(body) < WORTH_COMPRESSING:
        return body, ""
    for part in accepted.lower().split(","):
        name, _, quality = (text.strip() for text in part.partition(";"))
        if name == "gzip" and not _never(quality):
            return gzip.compress(body, 1, mtime=0), name
        if name == "deflate" and not _never(quality):
            return zlib.compress(body, 1), name
    return body, ""


def _never(quality: str) -> bool:
    """Whether a weight such as `q=0` says that an encoding is not wanted."""
    return quality.replace(" ", "").rstrip("0").rstrip(".") in {"q=", "q=0"}


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(f"the body has {size} bytes or more, the limit is {LARGEST}", limit=LARGEST, actual=size)
