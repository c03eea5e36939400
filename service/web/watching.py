"""One WatchModel for each model, whose messages all tabs of all browsers receive."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

from service.client import Client
from service.errors import NotFoundError, PermissionDeniedError, ServiceError, UnauthenticatedError
from service.web import plain

HELD = 32  # messages that a slow reader may be behind; older ones are dropped, since each has the whole model
AGAIN_SECONDS = 1.0  # between two attempts to reach a server that is away
BEAT_SECONDS = 10.0  # of silence after which a comment is sent, so that a browser that left is noticed
HOPELESS = (NotFoundError, PermissionDeniedError, UnauthenticatedError)

logger = logging.getLogger(__name__)


class Watches:
    """Who listens to which model. Belongs to one event loop; the calls themselves wait in threads of their own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._readers: dict[str, set[asyncio.Queue[str | None]]] = {}
        self._last: dict[str, str] = {}  # by model: the latest message, for a reader that comes later
        self._stopping = False

    async def read(self, model: str) -> AsyncIterator[str]:
        """The messages about a model as server-sent events: the model as it is, then each change."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(HELD)
        known = model in self._readers
        self._readers.setdefault(model, set()).add(queue)
        if last := self._last.get(model):
            queue.put_nowait(last)
        if not known:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._follow, args=(model, loop), name=f"watch-{model}", daemon=True).start()
        try:
            while not self._stopping:
                try:
                    event = await asyncio.wait_for(queue.get(), BEAT_SECONDS)
                except TimeoutError:
                    yield ": beat\n\n"
                    continue
                if event is None:
                    return
                yield f"data: {event}\n\n"
        finally:
            self._readers.get(model, set()).discard(queue)

    def stop(self) -> None:
        """Ends all readers; called by the loop when the process is to end."""
        self._stopping = True
        for model in self._readers:
            self._tell(model, None)

    def _follow(self, model: str, loop: asyncio.AbstractEventLoop) -> None:
        """Watches a model for as long as the process lives, and begins again when the server was away."""
        pause = threading.Event()
        while not self._stopping:
            try:
                for seen in self._client.watch(model):
                    self._hand_over(loop, model, {"connected": True, **plain.message(seen)})
            except HOPELESS as error:
                self._hand_over(loop, model, {"connected": True, "gone": error.message})
                loop.call_soon_threadsafe(self._forget, model)
                return
            except ServiceError as error:
                self._hand_over(loop, model, {"connected": False, "error": error.message})
            except ValueError:  # the client was closed
                return
            pause.wait(AGAIN_SECONDS)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, model: str, event: dict[str, Any]) -> None:
        try:
            loop.call_soon_threadsafe(self._tell, model, json.dumps(event))
        except RuntimeError:  # the loop has ended, and the process is about to
            self._stopping = True

    def _tell(self, model: str, event: str | None) -> None:
        if event is not None:
            self._last[model] = event
        for queue in self._readers.get(model, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def _forget(self, model: str) -> None:
        """Lets the next reader of a model begin anew; those of now have been told why."""
        self._tell(model, None)
        self._readers.pop(model, None)
        self._last.pop(model, None)
