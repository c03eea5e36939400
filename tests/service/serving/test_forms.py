"""service.serving.forms: which messages are found, and how many forms are kept."""

from service.serving.forms import MOST_FORMS, MOST_PLACES, Form, Forms


def test_forms_are_bounded():
    """No more forms are kept than so many, and only a few places are tried for one message."""
    forms = Forms()
    made = Form(4, ("m", "1"), (1, 1), lambda _: None, b"")
    for number in range(3 * MOST_FORMS):
        forms.add(number.to_bytes(4, "big"), 4, made)
        assert forms.find(number.to_bytes(4, "big") + b"1234") == (made, b"1234")
        assert forms.find(b"1234" + number.to_bytes(4, "big")) is None
    assert len(forms._forms) <= MOST_FORMS
    for size in range(1, 3 * MOST_PLACES):
        forms.add(bytes(100 - size), size, made)
    assert len(forms._places[100]) == MOST_PLACES
