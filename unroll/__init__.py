"""The public API for Python programs: the client and its types. Needs gRPC, protobuf and NumPy."""

from service import errors
from service.calendar_features import calendar_columns, calendar_features
from service.client import (
    Attribution,
    ClassScore,
    Client,
    Examples,
    Gradients,
    LayerMemory,
    LayerTrace,
    Memory,
    Patch,
    Prediction,
    StreamPrediction,
    Target,
    Trace,
    WeightChange,
)
from service.version import version

__version__ = version()
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
    "__version__",
    "calendar_columns",
    "calendar_features",
    "errors",
]
