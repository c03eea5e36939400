"""Forms of requests: what messages mean that differ in their numbers only, found by the bytes around the numbers."""

from dataclasses import dataclass

from service.model.results import RawForward

MOST_FORMS = 256  # of one protocol, after which all are forgotten
MOST_PLACES = 4  # of numbers, in messages of the same length


@dataclass(frozen=True, slots=True)  # whose fields are read three times as quickly as those of a tuple
class Form:
    """What messages mean that have the same bytes around their numbers."""

    begin: int  # of the numbers
    end: int
    key: tuple[str, str]  # model and number of the version
    shape: tuple[int, ...]  # of the input
    forward: RawForward
    answer: bytes  # up to its numbers


class Forms:
    """The forms of one protocol that a snapshot has answered."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[tuple[int, int], ...]] = {}  # where numbers are, by the length of the message
        self._forms: dict[bytes, Form] = {}  # by the bytes around the numbers

    def find(self, data: bytes) -> tuple[Form, bytes] | None:
        """The form of a message, and its numbers; None where it is not known."""
        for begin, end in self._places.get(len(data), ()):
            form = self._forms.get(data[:begin] + data[end:])
            # Both: where a longer form has its last numbers, this message may have something else.
            if form is not None and form.begin == begin and form.end == end:
                return form, data[begin:end]
        return None

    def add(self, around: bytes, form: Form) -> None:
        """Keeps a form for messages with numbers between these bytes."""
        if len(self._forms) >= MOST_FORMS:
            self._places, self._forms = {}, {}
        length, place = len(around) + form.end - form.begin, (form.begin, form.end)
        others = tuple(other for other in self._places.get(length, ()) if other != place)
        self._forms[around] = form
        self._places[length] = (place, *others[: MOST_PLACES - 1])
