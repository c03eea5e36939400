"""service.serving.forms: which messages are found, and how many forms are kept."""

from service.serving.forms import MOST_FORMS, MOST_PLACES, Form, Forms


def form(begin, end):
    """A form of messages with numbers at a place."""
    return Form(begin, end, ("m", "1"), (1, 1), lambda _: None, b"")


def test_the_numbers_are_as_many_as_they_were():
    """A message is found only if it has the numbers of its form, and not others that lie where another form's do."""
    forms, short, long = Forms(), form(4, 8), form(4, 12)
    forms.add(b"1234", short)
    forms.add(b"5678", long)
    assert forms.find(b"1234" + bytes(4)) == (short, bytes(4))
    assert forms.find(b"5678" + bytes(8)) == (long, bytes(8))
    assert forms.find(b"1234" + bytes(8)) is None
    assert forms.find(b"5678" + bytes(4)) is None


def test_forms_are_bounded():
    """No more forms are kept than so many, and only a few places are tried for one message."""
    forms = Forms()
    made = form(4, 8)
    for number in range(3 * MOST_FORMS):
        forms.add(number.to_bytes(4, "big"), made)
        assert forms.find(number.to_bytes(4, "big") + b"1234") == (made, b"1234")
        assert forms.find(b"1234" + number.to_bytes(4, "big")) is None
    assert len(forms._forms) <= MOST_FORMS
    for size in range(1, 3 * MOST_PLACES):
        forms.add(bytes(100 - size), form(4, 4 + size))
    assert len(forms._places[100]) == MOST_PLACES
