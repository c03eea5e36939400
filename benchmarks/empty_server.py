"""The yardstick of the server: a plain grpcio server with four threads that parses each request and returns a constant.

`python -m benchmarks.empty_server ADDRESS CORE [reads | fields]` is one process on one core; several share an address.
With `reads` it reads the metadata of each request; with `fields` it also answers a request id there by three fields.
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


FIELDS = ("unroll-version", "models:/reference/1"), ("server-timing", "queue;dur=0.0, compute;dur=0.012")


class EmptyServicer(unroll_pb2_grpc.PredictionServiceServicer):
    """Looks at nothing."""

    def __init__(self, option: str) -> None:
        self._option = option

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        """The same answer to everything."""
        if self._option:
            given = dict(context.invocation_metadata())
            if self._option == "fields":
                context.set_trailing_metadata((("x-request-id", given["x-request-id"]), *FIELDS))
        return ANSWER


def main() -> None:
    """Serves until it is ended."""
    address, core, *options = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 1)])
    unroll_pb2_grpc.add_PredictionServiceServicer_to_server(EmptyServicer("".join(options)), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
