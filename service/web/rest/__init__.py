"""The Open Inference Protocol over HTTP and JSON, translated to the protocol's gRPC service of the server."""
