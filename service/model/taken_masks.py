"""Masks that attention takes away, as Keras does: `MultiHeadAttention` deletes those of the very tensors it is given.

What Keras computes later finds no mask on such a tensor, unless the call names one. Which of two calls comes later
follows from the graph, or else from their distance to the outputs (keras.src.ops.function.map_graph, Keras 3.15).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from service.model.layers.attention import MultiHeadAttention
from service.model.templates import CallKey, CallTemplate, Source


def takers(order: Sequence[CallTemplate]) -> dict[Source, list[CallTemplate]]:
    """The calls that take away the masks of tensors."""
    found: dict[Source, list[CallTemplate]] = defaultdict(list)
    for call in order:
        if call.member is not None and isinstance(call.member.part, MultiHeadAttention):
            for source in dict.fromkeys(call.sources()):
                found[source].append(call)
    return found


def earlier(order: Sequence[CallTemplate]) -> Mapping[CallKey, Mapping[Source, tuple[CallTemplate, bool]]]:
    """For each call and each of its tensors: a call that may take the mask before, and whether that is certain.

    `order` holds the calls, each after those that it needs.
    """
    taken = takers(order)
    found: dict[CallKey, dict[Source, tuple[CallTemplate, bool]]] = defaultdict(dict)
    if not taken:
        return found
    needs: dict[CallKey, set[CallKey]] = {}
    for call in order:
        direct = {source.key for source in call.sources()}
        needs[call.key] = direct.union(*(needs.get(key, set()) for key in direct))
    depths: dict[CallKey, int] = {}
    for call in reversed(order):
        for source in call.sources():
            depths[source.key] = max(depths.get(source.key, 0), depths.get(call.key, 0) + 1)
    alone = max(Counter(call.key[0] for call in order).values()) == 1  # a layer called twice counts at its deepest
    for call in order:
        for source in dict.fromkeys(call.sources()):
            for other in taken.get(source, ()):
                if other.key == call.key or call.key in needs[other.key]:
                    continue
                apart = depths.get(other.key, 0) - depths.get(call.key, 0)
                if other.key in needs[call.key] or (alone and apart > 0):
                    found[call.key][source] = (other, True)
                elif not alone or apart == 0:
                    found[call.key].setdefault(source, (other, False))
    return found
