"""The yardstick of the server: a plain grpcio server with four threads that parses each request and returns a constant.

`python -m benchmarks.empty_server ADDRESS CORE [fields]` is one process on one core; several share an address. With
`fields` it sends trailing metadata with each answer, as a server does that answers a request id.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from service.pb import unroll_pb2 as pb
from service.pb import unroll_pb2_grpc

THREADS = 4
ANSWER = pb.PredictResponse(
    model="reference",
    version="1",
    outputs=[pb.Tensor(name="output", data_type=pb.DATA_TYPE_FLOAT32, shape=[1, 1], raw=b"\0\0\0\0")],
)


FIELDS = (
    ("x-request-id", "6f1c2f3e-5d0c-4a5b-9a39-7f4f0a3b6c11"),
    ("unroll-version", "models:/reference/1"),
    ("server-timing", "queue;dur=0.0, compute;dur=0.012"),
)


class EmptyServicer(unroll_pb2_grpc.PredictionServiceServicer):
    """Looks at nothing."""

    def __init__(self, fields: bool) -> None:
        self._fields = fields

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        """The same answer to everything."""
        if self._fields:
            context.set_trailing_metadata(FIELDS)
        return ANSWER


def main() -> None:
    """Serves until it is ended."""
    address, core, *fields = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 1)])
    unroll_pb2_grpc.add_PredictionServiceServicer_to_server(EmptyServicer(bool(fields)), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
