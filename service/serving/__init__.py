"""What a worker holds and computes: loaded versions, batching, admission."""
