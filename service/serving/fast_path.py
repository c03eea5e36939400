"""The fast path of a loaded version: numbers as they arrive go in, and come out as they are sent."""

from functools import partial

from service.config import Limits
from service.model.network import Network
from service.model.results import RawForward, RawResult
from service.model.tensors import RawSequence
from service.serving.placement import Computes


class FastPath:
    """Computes without checks, for inputs whose shape the network has taken before.

    output: the name of the tensor that comes out.
    """

    def __init__(self, network: Network, computes: Computes, limits: Limits) -> None:
        self._network, self._computes, self._quick = network, computes, limits.quick
        self._raw = RawSequence(network.inputs, network.outputs)
        self.output = network.outputs[0].name

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """What gives the output for an input of this shape, both little-endian float32, from states of zero.

        It gives None where a number is not finite. There is no such thing for networks with other inputs and outputs
        than one of float32, nor for inputs that admission has to count.
        """
        if not self._raw.plain or shape[0] * self._network.cost((shape[1:],)) > self._quick:
            return None
        if shape[0] == 1 and self._raw.possible:
            return self._computes.prepare(shape)
        return partial(self._forward, shape=shape)

    def _forward(self, raw: bytes, shape: tuple[int, ...]) -> RawResult | None:
        numbers = self._raw.numbers(raw, shape[1:])
        if numbers is None:
            return None
        result = self._computes.forward({self._raw.name: numbers})
        output = result.outputs[self.output]
        return output.tobytes(), result.shared
