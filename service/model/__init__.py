"""Recurrent networks in NumPy: pure numerics, no transport, no registry, no TensorFlow."""
