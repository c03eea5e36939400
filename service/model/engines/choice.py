"""The choice of an engine: each is proven against the NumPy reference and timed.

NumPy is the reference: it traces, and takes weights changed for one call. The others serve predictions where they are
faster. An engine serves a network only if it reproduces its proof and, where timesteps may be fed in pieces, gives the
same bits for any pieces. The choice depends on the batch size alone, never on the number of timesteps: so whatever
serves a prediction may serve a stream, and the two agree bit for bit.
"""

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from service.errors import InvalidArgumentError, ProofError, ServiceError
from service.model.engines import onnx_runtime, scalar
from service.model.engines.masked import masked
from service.model.network import Network
from service.model.proof import Proof, Tolerance, replay
from service.model.results import RawForward, RawResult, Result
from service.model.tensors import STRING, Array, RawSequence, TensorSpec

logger = logging.getLogger(__name__)

MANY = 32  # the batch that stands for all above 1
OTHERS = (2, 3, 7, MANY)  # batches for which chunk invariance is tried, since libraries choose their code by size
TIMESTEPS = (20, 100, 1_000)  # tried where neither file nor proof says how many: a convolution may want many
MOST_TIMESTEPS = 100  # of what is timed; what is longer is cut where it can be
MOST_ELEMENTS = 1 << 25  # that a call makes which is timed; where MANY sequences make more, fewer stand for them
MOST_IDS = 2_048  # different ones among random inputs: half precision, too, counts so far
PIECED_TIMESTEPS = 20  # of what is fed in pieces
ROUNDS = 7  # timings of each engine, the engines taking turns
FEW_ROUNDS = 3  # of NumPy alone: enough to tell light networks from heavy ones
SECONDS = 0.0015  # of each timing, unless a call takes longer
MOST_SECONDS = 2.0  # of all timings at one batch size, after which no other round begins
HEAVY = 50.0  # microseconds of NumPy, above which ONNX Runtime is worth its memory (some 25 MB) and its start
GAIN = 0.9  # another engine than NumPy must take less than so much of its time
KEPT = 2 / 3  # another than that of a batch of one, for larger ones: where the two differ, nothing is batched
PIECES = (1, 2, 3, 5)


class Engine(Protocol):
    """What computes a network."""

    name: str

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`."""


class OwnEngine:
    """The network's own forward pass, the reference: NumPy, for all that our reader made."""

    def __init__(self, network: Network) -> None:
        self.name = network.computed_by
        self.forward = network.forward


@dataclass(frozen=True)
class Timing:
    """What an engine takes for one call, or why it does not serve."""

    engine: str
    batch: int
    microseconds: float
    refused: str = ""


@dataclass(frozen=True)
class Choice:
    """The engines of a network: one for a batch of 1, one for larger ones."""

    network: Network
    single: Engine
    many: Engine
    timings: tuple[Timing, ...]
    batches: bool = False  # whether a sequence has the same bits whatever it is batched with, and gains by it

    @property
    def name(self) -> str:
        """For people: `numpy`, or `scalar (batch 1), onnxruntime`, or `onnxruntime, batching`."""
        if self.single.name != self.many.name:
            return f"{self.single.name} (batch 1), {self.many.name}"
        return f"{self.many.name}, batching" if self.batches else self.many.name

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """The forward pass, by the engine for this batch size."""
        batch = len(next(iter(inputs.values())))
        return (self.single if batch == 1 else self.many).forward(inputs, initial_state)

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """The fast path: what gives the output for one sequence of this shape, (1, timesteps, features), as bytes.

        The bits of `forward` from states of zero. None where the network does not take or give such bytes.
        """
        if isinstance(self.single, scalar.ScalarEngine) and (quick := self.single.prepare(shape)) is not None:
            return quick
        return partial(self._forward_raw, shape[1:]) if self.raw.takes(shape) else None

    def _forward_raw(self, extents: tuple[int, ...], raw: bytes) -> RawResult | None:
        numbers = self.raw.numbers(raw, extents)
        if numbers is None:
            return None
        output = self.single.forward({self.raw.name: numbers}).outputs[self.raw.output]
        return output.tobytes(), None

    @cached_property
    def raw(self) -> RawSequence:
        """What goes through the network as bytes."""
        return RawSequence(self.network.inputs, self.network.outputs)


@dataclass(frozen=True)
class Kind:
    """A way to compute, besides NumPy."""

    make: Callable[[Network], Engine | None]
    batches: tuple[int, ...]
    above: float = 0.0  # microseconds of NumPy; a network that takes less is not tried


KINDS: dict[str, Kind] = {
    "scalar": Kind(scalar.make, (1,)),
    "onnxruntime": Kind(onnx_runtime.make, (1, MANY), HEAVY),
}
TENSORFLOW = "tensorflow"  # computes what our reader does not support, where an operator asks for it
NAMES = ("numpy", *KINDS, TENSORFLOW)


def select(network: Network, proof: Proof | None = None, fixed: str = "") -> Choice:
    """The engines that serve a network: of those that pass `prove`, the fastest by measurement at each batch size.

    `fixed` names the one that is to serve wherever it can. Takes some tenths of a second for a network that more than
    NumPy can compute.

    Raises InvalidArgumentError for a name that is no engine's, or an engine that cannot compute this network.
    """
    if fixed and fixed not in NAMES:
        raise InvalidArgumentError(f"no engine {fixed!r}; there are: {', '.join(NAMES)}", field="engine")
    reference = OwnEngine(network)
    if reference.name == TENSORFLOW:
        return Choice(network, reference, reference, ())
    if fixed == TENSORFLOW:  # it is for other networks
        fixed = ""
    made: dict[str, Engine | str | None] = {}
    timings: list[Timing] = []
    chosen: dict[int, Engine] = {}
    for batch in (1, MANY):
        inputs = sample(network, proof, batch)
        fit: list[Engine] = [reference]
        try:
            (alone,) = _time(fit, inputs, FEW_ROUNDS)
        except InvalidArgumentError:  # it does not take random inputs, so there is nothing to choose by
            return Choice(network, reference, reference, ())
        for name, kind in KINDS.items():
            if fixed not in ("", name) or batch not in kind.batches or (not fixed and alone < kind.above):
                continue
            if name not in made:
                made[name] = _make(kind, network)
            engine = made[name]
            if engine is None:
                continue
            refused = engine if isinstance(engine, str) else prove(engine, network, inputs, proof)
            if isinstance(engine, str) or refused:
                timings.append(Timing(name, batch, float("nan"), refused))
            else:
                fit.append(engine)
        taken = _time(fit, inputs) if len(fit) > 1 else [alone]
        timings += [Timing(engine.name, batch, micros) for engine, micros in zip(fit, taken, strict=True)]
        keeps = chosen.get(1) in fit
        otherwise = chosen[1] if keeps else reference
        chosen[batch] = fit[-1] if fixed else fastest(fit, taken, otherwise, KEPT if keeps else GAIN)
    if fixed not in {"", *(engine.name for engine in chosen.values())}:
        raise InvalidArgumentError(f"the engine {fixed} cannot compute this network", field="engine")
    batches = _batches(chosen[1], chosen[MANY], network, proof)
    return Choice(network, chosen[1], chosen[MANY], tuple(timings), batches)


def assemble(network: Network, proof: Proof | None, single: str, many: str) -> Choice:
    """The engines of those names, as `select` chose them for this network in another process of this machine.

    Raises InvalidArgumentError for an engine that cannot compute this network, ProofError for one that does it wrong.
    """
    made: dict[str, Engine] = {network.computed_by: OwnEngine(network)}
    for name, batch in ((single, 1), (many, MANY)):
        if name == network.computed_by:
            continue
        engine = made.get(name) or (KINDS[name].make(network) if name in KINDS else None)
        if engine is None:
            raise InvalidArgumentError(f"the engine {name} cannot compute this network", field="engine")
        refused = prove(engine, network, sample(network, proof, batch), proof)
        if refused:
            raise ProofError(f"the engine {name} {refused}")
        made[name] = engine
    return Choice(network, made[single], made[many], (), _batches(made[single], made[many], network, proof))


def _make(kind: Kind, network: Network) -> Engine | str | None:
    """The engine, None where it does not cover the network, or how making it failed: NumPy is always there."""
    try:
        return kind.make(network)
    except Exception as error:  # a fault of the engine, or of ours; others serve the network meanwhile
        logger.exception("an engine cannot be made for %s", network.name)
        return f"failed: {type(error).__name__}"


def fastest(engines: Sequence[Engine], taken: Sequence[float], otherwise: Engine, gain: float) -> Engine:
    """The engine that takes the least time; `otherwise` unless another takes less than `gain` of its time."""
    pairs = zip(engines, taken, strict=True)
    return min(pairs, key=lambda pair: pair[1] * (gain if pair[0] is otherwise else 1))[0]


def prove(engine: Engine, network: Network, inputs: Mapping[str, Array], proof: Proof | None = None) -> str:
    """Why an engine may not serve a network at the batch size of some inputs; empty if it may.

    It must reproduce the proof; give what NumPy gives within the bound, from zero and from the states so reached; and
    where the network is streamable, the same bits for any pieces. All of that with masked timesteps, too, where an
    input has them.
    """
    single = len(next(iter(inputs.values()))) == 1
    try:
        if proof is not None:
            replay(network, proof, partial(_one_by_one, engine) if single else engine.forward)
        hidden = masked(network, inputs)
        for given in (inputs,) if hidden is None else (inputs, hidden):
            refused = _proven_with(engine, network, given)
            if refused:
                return refused
        return ""
    except ServiceError as error:
        return error.message
    except Exception as error:  # as in _make
        logger.exception("the engine %s fails for %s", engine.name, network.name)
        return f"failed: {type(error).__name__}"


def _proven_with(engine: Engine, network: Network, inputs: Mapping[str, Array]) -> str:
    """As `prove`, of the results for these inputs."""
    first = engine.forward(inputs)
    for state in ({}, first.final_state):
        actual, expected = engine.forward(inputs, state), network.forward(inputs, state)
        tolerance = Tolerance(network, inputs, state)
        for ours, theirs in ((actual.outputs, expected.outputs), (actual.final_state, expected.final_state)):
            if ours.keys() != theirs.keys() or not all(tolerance.error(n, ours[n], theirs[n]) <= 1 for n in theirs):
                return "differs from NumPy by more than is allowed"
    if network.streamable:
        short = _cut(inputs, network, PIECED_TIMESTEPS)
        for size in (1,) if len(next(iter(inputs.values()))) == 1 else OTHERS:
            if not _keeps_the_law(engine, network, {name: array[:size] for name, array in short.items()}):
                return "gives other bits for pieces"
    return ""


def _batches(single: Engine, many: Engine, network: Network, proof: Proof | None = None) -> bool:
    """Whether requests may be computed together: by an engine for heavy networks, to the same bits as one by one."""
    if single is not many or many.name not in KINDS or not KINDS[many.name].above:
        return False
    inputs, rng = sample(network, proof, MANY), np.random.default_rng(1)
    if any(len(array) < MANY for array in inputs.values()):  # so few are enough for a pass
        return False
    varied = {
        n: a + rng.normal(size=a.shape).astype(a.dtype) if a.dtype.kind == "f" and n not in network.vocabulary else a
        for n, a in inputs.items()
    }
    whole = many.forward(varied)
    expected = {**whole.outputs, **whole.final_state}
    for size in (1, *OTHERS):
        part = many.forward({name: array[-size:] for name, array in varied.items()})
        actual = {**part.outputs, **part.final_state}
        if not all(np.array_equal(actual[name], array[-size:]) for name, array in expected.items()):
            return False
    return True


def _one_by_one(engine: Engine, inputs: Mapping[str, Array]) -> Result:
    """The forward pass of a batch, each sequence by itself."""
    batch = len(next(iter(inputs.values())))
    results = [engine.forward({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(batch)]
    return Result(
        {name: np.concatenate([r.outputs[name] for r in results]) for name in results[0].outputs},
        {name: np.concatenate([r.final_state[name] for r in results]) for name in results[0].final_state},
    )


def sample(network: Network, proof: Proof | None, batch: int) -> dict[str, Array]:
    """Inputs of a batch size to try engines with: the proof's, repeated or cut; random ones where there is no proof.

    No more than MOST_TIMESTEPS where any number will do, and no more sequences than make MOST_ELEMENTS, but two.
    """
    if proof is None:
        found = chance(network, batch)
    else:
        found = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in proof.inputs.items()}
    found = _cut(found, network, MOST_TIMESTEPS)
    with suppress(InvalidArgumentError):  # it takes no random inputs
        few = max(2, MOST_ELEMENTS // max(1, network.cost(network.shapes(found))))
        return {name: array[:few] for name, array in found.items()}
    return found


def chance(network: Network, batch: int) -> dict[str, Array]:
    """Random inputs: normal numbers, truth values, ids out of the vocabulary, texts of words that the network knows.

    Integers that are no ids, or not plainly so, are 0.

    They have as many timesteps as the file has. Where that is open, the least of TIMESTEPS that the network takes, or
    the largest if it takes none.
    """
    found: dict[str, Array] = {}
    for timesteps in TIMESTEPS:
        rng = np.random.default_rng(0)
        for spec in network.declared:
            shape = [batch, *(timesteps if extent is None else extent for extent in spec.shape[1:])]
            if spec.dtype == STRING:
                found[spec.name] = _texts(network, spec.name, shape, rng)
                continue
            ids = network.vocabulary.get(spec.name, {"f": 0, "b": 2}.get(spec.dtype.kind, 1))
            array = rng.integers(min(ids, MOST_IDS), size=shape) if ids else rng.normal(size=shape)
            found[spec.name] = array.astype(spec.dtype)
        with suppress(InvalidArgumentError):
            network.forward({spec.name: found[spec.name][: spec.shape[0] or 1] for spec in network.declared})
            break
    return found


def _texts(network: Network, name: str, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Texts of words that the network knows."""
    known, count = network.words[name]
    found = np.empty(math.prod(shape), object)
    found[:] = [" ".join(known[i] for i in rng.integers(len(known), size=count)) for _ in range(found.size)]
    return found.reshape(shape)


def _cut(inputs: Mapping[str, Array], network: Network, timesteps: int) -> dict[str, Array]:
    """The beginnings of sequences, where any number of timesteps will do."""
    pieced = _pieced(network, network.inputs)
    return {name: array[:, :timesteps] if name in pieced else array for name, array in inputs.items()}


def _pieced(network: Network, specs: Sequence[TensorSpec]) -> set[str]:
    """Those of its inputs or outputs whose timesteps may come in pieces."""
    return {spec.name for spec in specs if network.streamable and spec.shape[1:2] == (None,)}


def _keeps_the_law(engine: Engine, network: Network, inputs: Mapping[str, Array]) -> bool:
    """Whether any pieces give the bits of one call: outputs that are sequences put together, others the last ones."""
    whole = engine.forward(inputs)
    pieced, sequences = (_pieced(network, specs) for specs in (network.inputs, network.outputs))
    timesteps = max(inputs[name].shape[1] for name in pieced)
    for size in PIECES:
        state: Mapping[str, Array] = {}
        pieces = []
        for start in range(0, timesteps, size):
            cut = {name: array[:, start : start + size] if name in pieced else array for name, array in inputs.items()}
            result = engine.forward(cut, state)
            state = result.final_state
            pieces.append(result.outputs)
        for name, expected in whole.outputs.items():
            actual = np.concatenate([p[name] for p in pieces], axis=1) if name in sequences else pieces[-1][name]
            if not np.array_equal(actual, expected):
                return False
        if not all(np.array_equal(state[name], value) for name, value in whole.final_state.items()):
            return False
    return True


def _time(engines: Sequence[Engine], inputs: Mapping[str, Array], most: int = ROUNDS) -> list[float]:
    """Microseconds of processor time for one call of each engine, in `most` rounds in which they take turns.

    Of the first the least of all rounds; of others their share in its time, the median of the rounds. What else runs
    on the machine slows the engines of a round alike, so the choice between them does not depend on it.
    """
    rounds: list[list[float]] = [[] for _ in engines]
    until = time.perf_counter() + MOST_SECONDS
    while len(rounds[0]) < most and (not rounds[0] or time.perf_counter() < until):
        for engine, times in zip(engines, rounds, strict=True):
            calls, start = 0, time.thread_time()
            while calls == 0 or time.thread_time() < start + SECONDS:
                engine.forward(inputs)
                calls += 1
            times.append((time.thread_time() - start) / calls * 1e6)
    first = rounds[0]
    shares = [statistics.median(t / of for t, of in zip(times, first, strict=True)) for times in rounds]
    return [min(first) * share for share in shares]
