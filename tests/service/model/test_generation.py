"""service.model.generation: which networks continue texts, and how the next character is drawn."""

import itertools

import numpy as np
import pytest

from service.errors import InvalidArgumentError, NotReadyError
from service.model.generation import Sampling, check_length, writer_of
from service.model.results import Result
from tests.service.writers import characters


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of characters with random weights."""
    return characters(tmp_path_factory.mktemp("characters"))


def text(writer, network, prompt="ab", length=40, **options):
    """What a network writes."""
    return "".join(c.text for c in writer.write(network.forward, prompt, length, Sampling(**options).seeded()))


def test_each_character_follows_from_the_whole_text(network):
    """Fed one character at a time with its states, a network writes what it would by reading all of it each time."""
    writer = writer_of(network)
    written = text(writer, network, temperature=0)
    whole = "ab"
    for character in written:
        found = network.forward({"text": np.array([list(whole)], object)}).outputs["output"][0, -1]
        assert character == writer.characters[found[writer.first :].argmax()]
        whole += character


def test_the_same_seed_writes_the_same_text(network):
    """A seed decides the text; another one gives another, and none gives one that can be repeated."""
    writer = writer_of(network)
    assert text(writer, network, seed=1) == text(writer, network, seed=1)
    assert len({text(writer, network, seed=seed) for seed in range(5)}) == 5
    drawn = Sampling().seeded()
    assert drawn.seed is not None
    assert text(writer, network, seed=drawn.seed) == text(writer, network, seed=drawn.seed)


def fixed(probabilities):
    """What stands for a network that always answers the same."""
    return lambda _, states: Result({"output": np.array([[probabilities]], np.float32)}, states)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.3, 0.2]),
        ({"temperature": 0.5}, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]),
        ({"top_k": 2}, [0.625, 0.375, 0]),
        ({"temperature": 0.0}, [1, 0, 0]),
        ({"top_k": 1, "temperature": 5.0}, [1, 0, 0]),
    ],
)
def test_characters_are_drawn_as_often_as_they_are_probable(network, options, expected):
    """Temperature and top-k change the probabilities, with which characters are drawn; unknown ones never are."""
    writer = writer_of(network)
    forward = fixed([0.2, 0.4, 0.24, 0.16])  # the first is that of unknown characters
    drawn = list(writer.write(forward, "a", 4000, Sampling(seed=7, **options)))
    shares = [sum(c.text == letter for c in drawn) / len(drawn) for letter in "abc"]
    np.testing.assert_allclose(shares, expected, atol=0.03)
    for character in drawn[:50]:
        assert character.probability == pytest.approx(expected["abc".index(character.text)], rel=1e-5)


def test_a_prompt_may_hold_any_character(network):
    """Characters that the vocabulary does not have are read as unknown ones."""
    assert len(text(writer_of(network), network, prompt="a\U0001f600\n")) == 40


@pytest.mark.parametrize(
    ("probabilities", "error"),
    [([1.0, 2.0, 3.0, -1.0], "does not answer with probabilities"), ([1.0, 0.0, 0.0, 0.0], "for impossible here"),
     ([np.nan, 0.5, 0.5, 0.0], "does not answer with probabilities")],
)  # fmt: skip
def test_what_answers_without_probabilities_is_refused(network, probabilities, error):
    """Numbers that are no probabilities, or of unknown characters only, end the text with a reason."""
    with pytest.raises(NotReadyError, match=error):
        next(writer_of(network).write(fixed(probabilities), "a", 1, Sampling(seed=0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature: expected 0 to 100, got -0.1"),
        ({"temperature": float("nan")}, "temperature: expected 0 to 100, got nan"),
        ({"top_k": -1}, "top_k: expected 0 or more, got -1"),
        ({"seed": -1}, "seed: expected 0 to"),
    ],
)
def test_options_have_bounds(options, message):
    """Each is refused by name, with what was expected and what arrived."""
    with pytest.raises(InvalidArgumentError) as caught:
        Sampling(**options)
    assert caught.value.message.startswith(message)


def test_the_length_has_a_bound(network):
    """A text has no more characters than allowed, 256 unless asked otherwise; a prompt has one at least."""
    assert [check_length(length, 1000) for length in (0, 1, 1000)] == [256, 1, 1000]
    assert check_length(0, 10) == 10
    for length in (-1, 1001):
        with pytest.raises(InvalidArgumentError, match=f"^length: expected 1 to 1000 characters.*got {length}"):
            check_length(length, 1000)
    with pytest.raises(InvalidArgumentError, match=r"^prompt: "):
        next(writer_of(network).write(network.forward, "", 1, Sampling(seed=0)))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"words": ["a", "bc"]}, "its vocabulary is not one of single characters"),
        ({"backwards": True}, "cannot be fed character by character: layer rnn"),
        ({"units": 7}, "its output is not the probabilities of the 4 entries"),
        ({"numbers": True}, "does not take one sequence of characters"),
        ({"whole": True}, "its texts go into no StringLookup"),
    ],
)
def test_other_networks_are_refused(tmp_path, options, error):
    """Words, layers that read backwards, other outputs, numbers and whole texts: each refusal says why."""
    with pytest.raises(NotReadyError, match=error):
        writer_of(characters(tmp_path, **options))


def test_nothing_is_computed_before_it_is_asked_for(network):
    """A text of any length costs what is taken of it."""
    calls = itertools.count()

    def forward(inputs, states):
        next(calls)
        return network.forward(inputs, states)

    writing = writer_of(network).write(forward, "a", 65_536, Sampling(seed=0))
    assert len(list(itertools.islice(writing, 3))) == 3
    assert next(calls) == 3
