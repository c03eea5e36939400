"""The life of a call, on either edge: authentication, limits, the handler, and the status.

An edge makes a `ServedCall` of what arrives and gives it to `Calls`. Whoever wants to know of calls is an `Observer`.
"""

import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import getrandbits, random
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import Message

from service.config import ServerConfig
from service.current import here
from service.edge.access import ANONYMOUS, Access
from service.edge.methods import Call, Caller, Lifetime, Method, Role
from service.edge.status import to_status
from service.errors import CancelledError, InvalidArgumentError, TimeLimitError, UnavailableError
from service.serving.quota import Quota
from service.serving.threads import Moved

STOPPING = "this server is stopping"
OK, CANCELLED = 0, 1  # statuses of gRPC
# Statuses that are not the client's doing: Unknown, DeadlineExceeded, Internal, Unavailable, DataLoss.
FAULTS = frozenset((2, 4, 13, 14, 15))
MOST_QUOTAS = 1024  # of callers, of which those without an open stream are forgotten
REQUEST_ID = "x-request-id"
LONGEST_ID = 128  # characters of an id that is taken

Receive = Callable[[float], bytes | None]


class Status(NamedTuple):
    """How a call ended that has no answer: a code of gRPC, a text, and the bytes of a google.rpc.Status."""

    code: int
    text: str
    details: bytes


def status_of(error: Exception, request_id: str = "") -> Status:
    """The status that an error ends a call with."""
    code, text, details = to_status(error, request_id)
    return Status(code.value[0], text, details)


class Failed(Exception):  # noqa: N818  # not an error of ours: it carries how a stream ends
    """A stream ends with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


def given_id(text: str) -> str:
    """The request id that a header gives; empty where it is none that is taken."""
    takes = 0 < len(text) <= LONGEST_ID and text.isascii() and text.isprintable() and " " not in text
    return text if takes else ""


class ServedCall(Call):
    """A call on its way through the server. An edge's own class says how its caller is reached."""

    path = ""  # /package.Service/Method, as the caller wrote it
    method: Method | None = None  # None: there is no such method
    who: Caller = ANONYMOUS
    observers: "tuple[Observer, ...]" = ()  # who hears of it: at first what `Calls.observers_of` says
    began = 0  # time.perf_counter_ns() when the handler was to begin; 0: it has not
    ended = 0  # the same, when its status was known
    code: int | None = None  # of gRPC; None: it has not ended
    error: Exception | None = None  # that it ended with
    requests = 0  # messages received
    responses = 0  # messages sent
    request_bytes = 0
    response_bytes = 0
    request_id = ""  # the caller's where an edge knows it at once; else found or made when it is first asked for
    trace_id = ""  # of a call that is traced; 32 hexadecimal digits
    request: Message | None = None  # of a call that changes what others are served, and the answer to it
    response: Message | None = None
    trailing: Sequence[tuple[str, str | bytes]] = ()  # metadata to send with the status; `-bin` keys have bytes

    def caller(self) -> Caller:
        """Who calls."""
        return self.who

    def id(self) -> str:
        """The caller's `x-request-id`, if that is one to 128 printable characters of ASCII; else one that is made."""
        if not self.request_id:
            self.request_id = given_id(self.metadata(REQUEST_ID)) or f"{getrandbits(128):032x}"  # no secret
        return self.request_id

    @abstractmethod
    def certificate(self) -> str:
        """The name that a verified client certificate proves; empty: there is none."""


class Observer(Protocol):
    """What hears of calls, on the threads that run them. It must be quick, and must not raise.

    It says beforehand which calls these are, so that it costs nothing of the others.
    """

    header: str  # it hears of each call that has this header; empty: of none for its headers
    share: float  # of the others, the share of which it hears by chance
    faults: bool  # whether it hears of the end of each call that failed by no fault of its client

    def watches(self, method: Method | None) -> bool:
        """Whether it hears of every call of a method; None: there is no such method. The answer is kept."""

    def began(self, call: ServedCall) -> None:
        """The call is about to be handled; nothing is known yet of who makes it."""

    def ended(self, call: ServedCall) -> None:
        """The call has its status: `code`, and `error` where it failed. `trailing` may still be added to."""


class Calls:
    """Runs the calls of one worker."""

    def __init__(self, config: ServerConfig, observers: Sequence[Observer] = (), access: Access | None = None) -> None:
        self.access, self.limits = access or Access(config), config.limits
        self.streams = Quota(config.limits.streams, config.limits.streams_of_one, "open streams")
        self.closed = False  # whether calls that begin from now on are refused
        self._observers = observers
        self._headers = sorted({observer.header for observer in observers if observer.header})
        self._hearing: dict[tuple[str | bool, ...], tuple[Observer, ...]] = {}  # by path, and which headers there are
        self._largest_share = max((observer.share for observer in observers), default=0.0)
        self._making = threading.Lock()  # guards the next
        self._own_streams: dict[tuple[str, int], Quota] = {}  # of callers with a bound of their own
        self._passed: tuple[Caller, Role] = (ANONYMOUS, Role.ANYONE)  # who may do what: what was found out last

    def observers_of(self, method: Method | None, headers: Mapping[str, str]) -> tuple[Observer, ...]:
        """Who hears of every call of such a method with such headers, in their order."""
        key: tuple[str | bool, ...] = (
            method.path if method is not None else "",
            *[bool(headers.get(name)) for name in self._headers],
        )
        hearing = self._hearing.get(key)
        if hearing is None:
            hearing = tuple(o for o in self._observers if o.watches(method) or (o.header and headers.get(o.header)))
            self._hearing[key] = hearing
        return hearing

    def unary(self, call: ServedCall, data: bytes) -> bytes | Status:
        """The answer to a call with one message each way; or how it ended without.

        `service.serving.threads.Moved` comes through where the call was begun on a thread that it may not hold: it is
        then to be given here again, on another.
        """
        method = call.method
        assert method is not None
        here.call = call
        try:
            if not call.began:
                self._begin(call)
                call.requests, call.request_bytes = 1, len(data)
                self._admit(call, method)
            else:  # it has moved, and may have waited for a thread
                call.check()
            answer = None
            if method.known is not None and not call.who.models:
                answer = method.known(data, call)
            if answer is None:
                answer = self._handled(call, method, method.parse(data))
        except Exception as error:  # whatever it is, the client gets a status for it
            return self.failed(call, error)
        except Moved:
            here.call = None
            raise
        call.code, call.responses, call.response_bytes = OK, 1, len(answer)
        if call.observers:
            if not call.active():  # nobody gets the answer
                return self.failed(call, CancelledError("the caller has left"))
            self._end(call)
        else:
            here.call = None
        return answer

    def _handled(self, call: ServedCall, method: Method, request: Message) -> bytes:
        """What the handler answers."""
        if call.who.models:
            self.access.check_model(call.who, request)
        if method.operates:
            call.request = request
        response = method.handler(request, call)
        if method.operates:
            call.response = response
        answer: bytes = response.SerializeToString()
        return answer

    def stream(self, call: ServedCall, receive: Receive) -> Generator[bytes]:
        """The answers of a call with streams. `receive(seconds)` gives the next message, None after the last.

        `receive` raises queue.Empty where none came in so many seconds.

        Raises Failed where the call ends with another status than OK.
        """
        method = call.method
        assert method is not None
        here.call = call
        try:
            self._begin(call)
            self._admit(call, method)
            lifetime = call.lifetime = Lifetime(self.limits.stream_seconds)
            with self.streams.take(call.identity()), self._streams_of(call.who):
                requests = (self._parsed(call, method, data) for data in self._arriving(call, receive, lifetime))
                argument: Any = requests if method.request_streams else next(requests, None)
                if argument is None:
                    raise InvalidArgumentError("the call wants one message, and has none")
                for response in method.handler(argument, call):
                    answer = response.SerializeToString()
                    call.responses += 1
                    call.response_bytes += len(answer)
                    if call.trace is not None:
                        call.trace.note(call.inference)
                    yield answer
        except Exception as error:
            raise Failed(self.failed(call, error)) from None
        except GeneratorExit:  # nobody takes the answers any more
            self.failed(call, CancelledError("the caller has left"))
            raise
        call.code = OK
        self._end(call)

    def failed(self, call: ServedCall, error: Exception) -> Status:
        """Ends a call with the status of an error. The place for calls that are refused before they begin, too."""
        if not call.began:
            self._begin(call)
        status = status_of(error, call.id())
        call.code, call.error = status.code, error
        if status.code in FAULTS:
            call.observers = tuple(o for o in self._observers if o in call.observers or o.faults)
        self._end(call)
        return status

    def left(self, call: ServedCall) -> None:
        """Ends a call that nobody waits for any more, before it began: no status is made, for nobody would get it."""
        self._begin(call)
        call.code, call.error = CANCELLED, CancelledError("the caller has left")
        self._end(call)

    def _begin(self, call: ServedCall) -> None:
        call.began = time.perf_counter_ns()
        if self._largest_share and (chance := random()) < self._largest_share:  # noqa: S311  # a sample, no secret
            call.observers = tuple(o for o in self._observers if o in call.observers or chance < o.share)
        for observer in call.observers:
            observer.began(call)

    def _end(self, call: ServedCall) -> None:
        call.ended = time.perf_counter_ns()
        for observer in call.observers:
            observer.ended(call)
        here.call = None

    def _admit(self, call: ServedCall, method: Method) -> None:
        """Lets a call in whose caller may make it, and still waits. Raises what it is refused with."""
        if self.closed:
            raise UnavailableError(STOPPING)
        if method.role is not Role.ANYONE:
            access = self.access
            caller = access.everybody
            if caller is None:
                certificate = call.certificate() if access.certificates else ""
                caller = access.caller(call.metadata("authorization"), certificate, call.peer())
            call.who = caller
            passed = self._passed
            if passed[0] is not caller or passed[1] is not method.role:
                access.check(caller, method.role)
                self._passed = (caller, method.role)
            if caller.calls_per_second:
                access.count(caller)
        call.check()

    def _streams_of(self, caller: Caller) -> AbstractContextManager[None]:
        """Holds one stream of a caller that has a bound of its own. Raises LimitExceededError."""
        if not caller.streams:
            return nullcontext()
        key = caller.name, caller.streams
        with self._making:
            if key not in self._own_streams and len(self._own_streams) >= MOST_QUOTAS:
                self._own_streams = {k: quota for k, quota in self._own_streams.items() if quota.held()}
            new = Quota(caller.streams, caller.streams, f"open streams of {caller.name}")
            return self._own_streams.setdefault(key, new).take(caller.name)

    def _parsed(self, call: ServedCall, method: Method, data: bytes) -> Message:
        """A message of a stream, which may name no model but those of its caller."""
        message = method.parse(data)
        if call.who.models:
            self.access.check_model(call.who, message)
        return message

    def _arriving(self, call: ServedCall, receive: Receive, lifetime: Lifetime) -> Iterator[bytes]:
        """The messages of a stream, as they arrive; TimeLimitError when the client is silent or the stream old."""
        idle = self.limits.stream_idle_seconds
        while True:
            left = lifetime.left()
            try:
                message = receive(min(idle, max(left, 0.0)))
            except queue.Empty:
                if left <= idle:
                    raise lifetime.error() from None
                raise TimeLimitError(f"no message for {idle:g} s", limit=idle) from None
            if message is None:
                return
            if left <= 0:
                raise lifetime.error()
            call.requests += 1
            call.request_bytes += len(message)
            yield message
