"""gRPC on a socket: the method table, access, status, reflection, and the server that carries them."""
