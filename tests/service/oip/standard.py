"""The standard client: single calls, and streams whose answers come in order."""

import queue

import tritonclient.grpc as triton

from tests.service.support import R3_INPUTS

ONE = R3_INPUTS[:1]


def tensor(name, array, datatype=None):
    """An input of the standard client."""
    made = triton.InferInput(name, list(array.shape), datatype or triton.np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def infer(client, x, model="reference", name="x", **options):
    return client.infer(model, [tensor(name, x)], **options)


class Stream:
    """A stream of the standard client; answers in order."""

    def __init__(self, address, **options):
        self._client = triton.InferenceServerClient(address)
        self._answers = queue.Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)), **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.stop_stream()
        self._client.close()

    def send(self, x, model="reference", name="x", **options):
        self._client.async_stream_infer(model, [tensor(name, x)], **options)

    def receive(self):
        return self._answers.get(timeout=20)

    def step(self, x, output="output", **options):
        """The output for a request, or what the server says is wrong with it."""
        self.send(x, **options)
        result, error = self.receive()
        return error.message() if error else result.as_numpy(output)


def steps(x):
    """A sequence, timestep by timestep."""
    return [x[:, t : t + 1] for t in range(x.shape[1])]


# Calls of the standard client, by method, that take only names: those that the server does not offer, and the others.
UNOFFERED_CALLS = {
    "update_trace_settings": {"settings": {"trace_level": "TIMESTAMPS"}},
    "update_log_settings": {"settings": {"log_info": False}},
    "get_system_shared_memory_status": {},
    "register_system_shared_memory": {"name": "a", "key": "/a", "byte_size": 4},
    "unregister_system_shared_memory": {},
    "get_cuda_shared_memory_status": {},
    "register_cuda_shared_memory": {"name": "a", "raw_handle": b"YQ==", "device_id": 0, "byte_size": 4},
    "unregister_cuda_shared_memory": {},
    "load_model": {"model_name": "reference"},  # here, where there is no registry; with one: test_repository
    "unload_model": {"model_name": "reference"},
}
ANSWERED_CALLS = {
    "is_server_live": {},
    "is_server_ready": {},
    "is_model_ready": {"model_name": "reference"},
    "get_server_metadata": {},
    "get_model_metadata": {"model_name": "reference", "model_version": "1"},
    "get_model_config": {"model_name": "reference", "model_version": "champion"},
    "get_model_repository_index": {},
    "get_inference_statistics": {"model_name": "reference"},
    "get_trace_settings": {"model_name": "reference"},
    "get_log_settings": {},
}
