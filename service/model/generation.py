"""Texts that a network of characters continues: which networks can, and how the next character is drawn.

Such a network looks the characters of a sequence up in its vocabulary, one by one, and answers after each with the
probability of every character to follow. A text is continued one character at a time: the network gets the character
that was drawn last, and the states that it ended with.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError, NotReadyError
from service.model.layers.categories import StringLookup
from service.model.network import Network
from service.model.results import Result
from service.model.tensors import STRING, Array

USUAL_LENGTH = 256  # characters, unless another number is asked for
HOTTEST = 100.0
LARGEST_SEED = 2**63 - 1
NEARLY_ONE = 1e-2  # by which the sum of probabilities may differ from 1, in half precision

Forward = Callable[[Mapping[str, Array], Mapping[str, Array]], Result]
"""Outputs and final states for inputs and the states before."""


@dataclass(frozen=True)
class Sampling:
    """How the next character is drawn."""

    temperature: float = 1.0
    """By which the logarithms of probabilities are divided: below 1 the probable becomes more so; 0: take the best."""
    top_k: int = 0
    """So many characters, the most probable ones, are considered; 0: all."""
    seed: int | None = None
    """The same seed gives the same text; None: any."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for numbers out of range."""
        if not 0 <= self.temperature <= HOTTEST:
            raise InvalidArgumentError(
                f"temperature: expected 0 to {HOTTEST:g}, got {self.temperature:g}", field="temperature"
            )
        if self.top_k < 0:
            raise InvalidArgumentError(f"top_k: expected 0 or more, got {self.top_k}", field="top_k")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidArgumentError(f"seed: expected 0 to {LARGEST_SEED}, got {self.seed}", field="seed")

    def seeded(self) -> "Sampling":
        """The same with a seed, drawn where there is none."""
        seed = secrets.randbelow(LARGEST_SEED + 1) if self.seed is None else self.seed
        return Sampling(self.temperature, self.top_k, seed)


@dataclass(frozen=True)
class Character:
    """A character of a text that is continued."""

    text: str
    probability: float  # with which it was drawn


@dataclass(frozen=True)
class Writer:
    """A network that continues texts, as far as its callers need to know."""

    input: str
    output: str
    characters: tuple[str, ...]
    first: int  # id of the first character; those before stand for padding and for unknown characters

    def write(self, forward: Forward, prompt: str, length: int, sampling: Sampling) -> Iterator[Character]:
        """Continues a prompt by so many characters, each of which `forward` is asked for. `sampling` has a seed.

        The prompt is read in one call, each further character in one. The next one is computed when it is asked for.

        Raises InvalidArgumentError for an empty prompt, NotReadyError where the network gives no probabilities.
        """
        if not prompt:
            raise InvalidArgumentError("prompt: expected one character or more to begin with", field="prompt")
        random = np.random.Generator(np.random.PCG64(sampling.seed))
        text, states = prompt, dict[str, Array]()
        for _ in range(length):
            result = forward({self.input: np.array([list(text)], object)}, states)
            states = dict(result.final_state)
            answer = result.outputs[self.output][0]
            place, probability = self._drawn(answer[-1] if answer.ndim == 2 else answer, sampling, random)
            text = self.characters[place]
            yield Character(text, probability)

    def _drawn(
        self, probabilities: npt.NDArray[np.floating], sampling: Sampling, random: np.random.Generator
    ) -> tuple[int, float]:
        """The place of a character, and the probability with which it was drawn."""
        found = probabilities.astype(np.float64)
        if not np.isfinite(found).all() or found.min() < 0 or abs(found.sum() - 1) > NEARLY_ONE:
            raise NotReadyError("the network does not answer with probabilities: its last activation is not softmax")
        known = found[self.first :]
        if not known.any():
            raise NotReadyError("the network takes each of its characters for impossible here")
        if sampling.temperature == 0 or sampling.top_k == 1:
            return int(known.argmax()), 1.0
        with np.errstate(divide="ignore"):
            scores = np.log(known) / sampling.temperature
        if 0 < sampling.top_k < len(scores):
            best = np.argsort(-scores, kind="stable")[: sampling.top_k]
            kept = np.full(len(scores), -np.inf)
            kept[best] = scores[best]
            scores = kept
        powers = np.exp(scores - scores.max())
        chances = powers / powers.sum()
        place = int(np.searchsorted(np.cumsum(chances), random.random(), side="right"))
        place = min(place, int(np.flatnonzero(chances)[-1]))  # where the sum ends below 1
        return place, float(chances[place])


def writer_of(network: Network) -> Writer:
    """What a network continues texts with. Raises NotReadyError that says why it cannot."""
    if len(network.inputs) != 1 or network.inputs[0].dtype != STRING or len(network.inputs[0].shape) != 2:
        raise _refused("it does not take one sequence of characters")
    (spec,), ((_, place),) = network.inputs, network.graph.inputs
    nodes = [node for node in network.graph.nodes if place in node.inputs]
    layers = [network.graph.layers[node.layer].layer for node in nodes]
    if len(layers) != 1 or not isinstance(layers[0], StringLookup) or layers[0].options["output_mode"] != "int":
        raise _refused("its texts go into no StringLookup, which looks up one character after the other")
    lookup = layers[0]
    characters = tuple(lookup.tokens())
    if any(len(character) != 1 for character in characters):
        raise _refused("its vocabulary is not one of single characters")
    if not network.streamable:
        raise _refused(f"it cannot be fed character by character: {network.not_streamable_reason}")
    if len(network.outputs) != 1 or network.outputs[0].shape[-1] != lookup.depth():
        raise _refused(f"its output is not the probabilities of the {lookup.depth()} entries of its vocabulary")
    return Writer(spec.name, network.outputs[0].name, characters, lookup.depth() - len(characters))


def check_length(length: int, most: int) -> int:
    """How many characters are to be written. Raises InvalidArgumentError for more than there may be."""
    if not 0 <= length <= most:
        raise InvalidArgumentError(
            f"length: expected 1 to {most} characters, or 0 for {USUAL_LENGTH}, got {length}", field="length",
            limit=most, actual=length,
        )  # fmt: skip
    return length or min(USUAL_LENGTH, most)


def _refused(why: str) -> NotReadyError:
    return NotReadyError(
        f"the network does not continue texts: {why}; unroll train --data FILE.txt trains one that does"
    )
