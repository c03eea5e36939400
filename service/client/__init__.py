"""The Python client: typed, with NumPy arrays in and out. It retries only calls that are safe to repeat."""

from service.client.client import Client, Examples, Prediction, StreamPrediction, Trace
from service.client.insight import Attribution, Gradients, LayerMemory, Memory, Target
from service.client.messages import ClassScore, LayerTrace, Patch, WeightChange, to_array, to_tensor

__all__ = [
    "Attribution",
    "ClassScore",
    "Client",
    "Examples",
    "Gradients",
    "LayerMemory",
    "LayerTrace",
    "Memory",
    "Patch",
    "Prediction",
    "StreamPrediction",
    "Target",
    "Trace",
    "WeightChange",
    "to_array",
    "to_tensor",
]
