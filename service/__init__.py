"""The gRPC service that serves registered recurrent networks."""
