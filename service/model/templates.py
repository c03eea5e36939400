"""Models as their config describes them, which a graph can contain any number of times."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import CorruptModelError, UnsupportedModelError
from service.model.graph import Graph
from service.model.layers.array_operations import Operand
from service.model.layers.attention import MultiHeadAttention
from service.model.layers.base import Layer
from service.model.layers.operations import Operation
from service.model.tensors import Shape


class Template:
    """A model inside the model (or the model itself), whose layers are made once and called any number of times."""

    def call(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """Writes the model out on some values; gives the places of its outputs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Member:
    """A layer of a model, or a model in it, with its folder in the H5 file."""

    part: Layer | Template
    folder: str

    def call(
        self,
        graph: Graph,
        inputs: Sequence[int],
        mask: int | None = None,
        initial: Sequence[int] = (),
        said: "Said | None" = None,
        bare: Sequence[int] = (),
    ) -> Sequence[int]:
        """The layer, or the model written out, on values."""
        if isinstance(self.part, Layer):
            layer = self.part if said is None else self.part.called(said.roles, said.options)
            return graph.call(layer, self.folder, inputs, mask, initial, bare)
        if initial:
            raise UnsupportedModelError("a model inside the model is called with states of its own")
        return self.part.call(graph, inputs)  # an explicit mask is the one that its first input carries


@dataclass(frozen=True)
class Sequential(Template):
    """Layers in a row."""

    name: str
    members: tuple[Member, ...]

    def call(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """Each on the output of the one before."""
        places = list(inputs)
        for member in self.members:
            if len(places) != 1:
                raise UnsupportedModelError(f"model {self.name}: a layer in a row is given {len(places)} values")
            places = list(member.call(graph, places))
        return places


CallKey = tuple[str, int]  # a layer's name and the number of the call


@dataclass(frozen=True)
class Source:
    """A tensor by where it comes from."""

    key: CallKey
    tensor: int


@dataclass(frozen=True)
class Said:
    """What a call says to a layer that takes more than inputs."""

    roles: tuple[str, ...]  # of the tensors, in order
    options: Mapping[str, Any]


@dataclass(frozen=True)
class CallTemplate:
    """One call in a functional model, before it is made: arguments name what they come from."""

    key: CallKey
    member: Member | None  # None: an operation
    kind: str  # of an operation
    options: Mapping[str, Any]  # of an operation
    arguments: Sequence[Any]  # with `Source`s where tensors stand
    mask: Source | None
    initial: tuple[Source, ...]
    said: Said | None = None

    def sources(self) -> list[Source]:
        """All tensors that the call needs."""
        return [*sources_in(self.arguments), *([self.mask] if self.mask else []), *self.initial]


@dataclass(frozen=True)
class Functional(Template):
    """Layers and operations wired by name."""

    name: str
    prefix: str
    inputs: Mapping[str, tuple[str, Shape, str]]  # name, shape, type by the name of the InputLayer
    input_order: tuple[str, ...]
    order: tuple[CallTemplate, ...]  # each after what it needs
    outputs: tuple[Source, ...]
    taken: Mapping[CallKey, Mapping[Source, tuple[CallTemplate, bool]]]  # as `taken_masks.earlier`

    def call(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """All calls, in order."""
        if len(inputs) != len(self.input_order):
            raise UnsupportedModelError(
                f"model {self.name} has {len(self.input_order)} inputs, and is called on {len(inputs)}"
            )
        made: dict[CallKey, Sequence[int]] = {
            (name, 0): [place] for name, place in zip(self.input_order, inputs, strict=True)
        }

        def place(source: Source) -> int:
            if not 0 <= source.tensor < len(made[source.key]):
                raise CorruptModelError(f"layer {source.key[0]} has no output {source.tensor}")
            return made[source.key][source.tensor]

        for call in self.order:
            given = [place(source) for source in sources_in(call.arguments)]
            self._check_inner_masks(graph, call, place)
            if call.member is None:
                count = iter(range(len(given)))
                name = f"{self.prefix}{call.key[0]}"
                made[call.key] = graph.operate(
                    Operation(name, call.kind, _operands(call.arguments, count), call.options), given
                )
            else:
                mask = None if call.mask is None else place(call.mask)
                bare = self._bare(graph, call, place)
                initial = [place(source) for source in call.initial]
                made[call.key] = call.member.call(graph, given, mask, initial, call.said, bare)
        return [place(source) for source in self.outputs]

    def _check_inner_masks(self, graph: Graph, call: CallTemplate, place: Callable[[Source], int]) -> None:
        """Refuses attention that takes away the mask of a value of the outer model, which may need it afterwards."""
        layer = call.member and call.member.part
        if self.prefix and isinstance(layer, MultiHeadAttention):
            for source in call.sources():
                if source.key[0] in self.inputs and graph.may_mask[place(source)]:
                    raise layer.unsupported("in a model inside the model, it is given an input of it that has a mask")

    def _bare(self, graph: Graph, call: CallTemplate, place: Callable[[Source], int]) -> list[int]:
        """The inputs of a call whose masks are gone."""
        found = []
        for source, (taker, certain) in self.taken.get(call.key, {}).items():
            layer = taker.member and taker.member.part
            at = place(source)
            if not isinstance(layer, Layer) or not graph.may_mask[at] or graph.values[at].dtype != layer.policy.compute:
                continue  # what is cast is another tensor, and keeps its mask
            if not certain or call.member is None or not isinstance(call.member.part, Layer):
                raise layer.unsupported(
                    f"Keras deletes the mask of its input, and nothing says whether {call.key[0]} finds it before"
                )
            found.append(at)
        return found


def sources_in(arguments: Any) -> Iterator[Source]:
    """The tensors among arguments, in order."""
    if isinstance(arguments, Source):
        yield arguments
    elif isinstance(arguments, list | tuple):
        for part in arguments:
            yield from sources_in(part)


def _operands(arguments: Any, count: Iterator[int]) -> Any:
    """Arguments with numbered operands in place of tensors."""
    if isinstance(arguments, Source):
        return Operand(next(count))
    if isinstance(arguments, list | tuple):
        return [_operands(part, count) for part in arguments]
    return arguments
