"""Our own protocol, unroll.v1: decode, call, encode."""
