"""Results of a network: of a forward pass, and of a trace."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.model.tensors import Array


class Shared(NamedTuple):
    """A forward pass that several requests were in, as one of them sees it."""

    sequences: int  # in the pass
    leads: bool  # whether this is the first of its requests, so that each pass has one that does
    waited_ns: int  # before the pass began
    forward: tuple[int, int] | None = None  # of a batch: when the engine began and ended; time.perf_counter_ns()
    traces: tuple[Any, ...] = ()  # contexts of the spans of its requests that are traced


class Result(NamedTuple):
    """What a forward pass gives."""

    outputs: dict[str, Array]
    final_state: dict[str, Array]  # (batch, units) each
    shared: Shared | None = None  # where others may have been in it


RawResult = tuple[bytes, Shared | None]
"""The output for one sequence, little-endian as on the wire, and what is known of a pass that others were in too."""

RawForward = Callable[[bytes], RawResult | None]
"""From one sequence to its output, both little-endian and of known shapes; None where a number is not finite."""


@dataclass(frozen=True)
class LayerTrace:
    """What happened in one call of one layer.

    `tensors` holds `output`; for Dense and recurrent layers `pre_activation`; for recurrent layers, each
    (batch, timesteps, units), the states after each timestep (`hidden_state`, `cell_state`) and the gates
    (`update_gate`, `reset_gate`, `candidate`; `input_gate`, `forget_gate`, `output_gate`). Timesteps stand in the order
    of processing, as in Keras's own output; within Bidirectional (`forward/…`, `backward/…`) in that of the input. For
    attention it holds the weights of its means, `attention_scores`: (batch, Tq, Tv), or (batch, heads, Tq, Tv) where it
    has several heads.
    """

    layer: str
    class_name: str
    tensors: dict[str, Array]


@dataclass(frozen=True)
class Trace:
    """What happened in a network, in the order of computation."""

    layers: tuple[LayerTrace, ...]
    outputs: dict[str, Array]
    final_state: dict[str, Array]
