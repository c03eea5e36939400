"""The Open Inference Protocol: its messages, its tensors, and what it counts."""
