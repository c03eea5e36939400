"""The yardstick of the server: a plain grpcio server with four threads that parses each request and returns a constant.

`python -m benchmarks.empty_server ADDRESS CORE` is one process on one core; several share an address.
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


class EmptyServicer(unroll_pb2_grpc.PredictionServiceServicer):
    """Looks at nothing."""

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        """The same answer to everything."""
        return ANSWER


def main() -> None:
    """Serves until it is ended."""
    address, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 1)])
    unroll_pb2_grpc.add_PredictionServiceServicer_to_server(EmptyServicer(), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
