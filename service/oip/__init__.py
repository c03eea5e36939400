"""The Open Inference Protocol: messages, tensors, handlers and statistics."""
