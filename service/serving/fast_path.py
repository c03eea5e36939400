"""The fast path: for a call that holds one small sequence as bytes and asks for nothing more."""

from collections.abc import Sequence
from contextlib import suppress

from service.config import Limits
from service.errors import InvalidArgumentError
from service.model.network import Network
from service.model.results import RawResult
from service.model.tensors import RawSequence
from service.serving.placement import Computes


class FastPath:
    """The fast path of a loaded version. A protocol says whether a request is plain; all that is measured is here.

    input, output: names of the tensors that go in and come out, both float32.
    """

    def __init__(self, network: Network, computes: Computes, limits: Limits) -> None:
        self.input, self.output = network.inputs[0].name, network.outputs[0].name
        self._most_bytes = most_bytes(network, limits)
        self._forward = computes.forward_raw

    def forward(self, raw: bytes, shape: Sequence[int]) -> RawResult | None:
        """The output for one sequence of shape (1, timesteps, features), little-endian float32, from states of zero.

        None where the sequence is too long to be certain of all bounds, is none that the network takes, or holds a
        number that is not finite. The slow path then answers, or says what is wrong.
        """
        if len(raw) > self._most_bytes or len(shape) != 3:
            return None
        return self._forward(raw, tuple(shape))


def most_bytes(network: Network, limits: Limits) -> int:
    """Bytes up to which one float32 sequence is within all bounds and quick to compute.

    0 where the network does not take one float32 sequence and give one float32 tensor.
    """
    if not RawSequence(network.inputs, network.outputs).possible:
        return 0
    _, timesteps, features = network.inputs[0].shape
    assert features is not None
    most = min(limits.timesteps, limits.elements) // features
    for count in [timesteps] if timesteps else [most >> halved for halved in range(most.bit_length())]:
        with suppress(InvalidArgumentError):  # a layer wants more timesteps, or fewer
            if network.cost(((count, features),)) <= limits.quick:
                return 4 * min(most, count) * features
    return 0
