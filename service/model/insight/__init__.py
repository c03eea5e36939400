"""What gradients and patches say of a network: attribution, memory, dynamics, and units over many sequences."""
