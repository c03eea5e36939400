"""Weight changes for one call or one stream: what they may cost, and the network that they make."""

from collections.abc import Sequence

from service.api.codec import decode_changes
from service.config import Limits
from service.edge.methods import Call
from service.model.changes import apply, touched
from service.model.network import Network
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from service.serving.loaded import LoadedVersion
from service.serving.threads import leave


def changed(
    host: Host, network: Network, changes: Sequence[pb.WeightChange], call: Call, *, field: str, limits: Limits
) -> Network:
    """The network with these changes; itself where there are none.

    Raises as `decode_changes` and `apply`, and LimitExceededError where the changes touch too much.
    """
    if not changes:
        return network
    leave()
    decoded = decode_changes(changes, network, field, limits)
    elements = touched(network.weights, decoded)
    with host.admission.admit(elements, call, field=field, what="the changes touch"):
        return apply(network, decoded)


def kept_elements(version: LoadedVersion, changes: Sequence[pb.WeightChange]) -> int:
    """Elements of all weights that a stream with changes keeps; changes that name no weight are refused later."""
    weights = version.network.weights if changes else {}
    return sum(weights[name].size for name in {change.weight for change in changes} if name in weights)
