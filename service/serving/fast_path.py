"""The fast path: the way of a call that holds one small sequence as bytes and asks for nothing more."""

from contextlib import suppress

from service.config import Limits
from service.errors import InvalidArgumentError
from service.model.network import Network
from service.model.tensors import RawSequence


def most_bytes(network: Network, limits: Limits) -> int:
    """Bytes up to which one float32 sequence is within all bounds and quick; 0 where the network takes no such one."""
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
