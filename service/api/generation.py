"""Generate: a text that a network of characters continues, as a stream of its characters."""

import time
from collections.abc import Iterator, Mapping

from service.config import Limits
from service.edge.methods import Call
from service.model.generation import Sampling, check_length, writer_of
from service.model.results import Result
from service.model.tensors import Array
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from service.serving.statistics import InferenceStatistics


def generate(
    request: pb.GenerateRequest, call: Call, host: Host, limits: Limits, statistics: InferenceStatistics
) -> Iterator[pb.GenerateResponse]:
    """The characters, each when it is drawn. The version and the states of its network are locals of this call.

    The next character is computed when the one before is taken, so nothing is computed for a caller who left.
    """
    version = host.resolve(request.model, request.version, call)
    length = check_length(request.length, limits.timesteps)
    sampling = Sampling(
        request.temperature if request.HasField("temperature") else 1.0,
        request.top_k,
        request.seed if request.HasField("seed") else None,
    ).seeded()
    writer = writer_of(version.network)

    def forward(inputs: Mapping[str, Array], states: Mapping[str, Array]) -> Result:
        call.check()
        begin = time.perf_counter_ns()
        try:
            with host.admission.take(version.network, inputs, call):
                result = version.forward(inputs, states)
        except Exception as error:
            statistics.failed(version.key, time.perf_counter_ns() - begin, error)
            raise
        end = time.perf_counter_ns()
        shape = next(iter(inputs.values())).shape
        call.inference = statistics.answered(version.key, shape, (begin, begin, end, end), result.shared)
        return result

    for character in writer.write(forward, request.prompt, length, sampling):
        yield pb.GenerateResponse(
            model=version.model,
            version=version.entry.number,
            text=character.text,
            probability=character.probability,
            seed=sampling.seed,
        )
