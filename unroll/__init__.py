"""What programs that use Unroll import: the client, and what goes in and comes out. Needs gRPC, protobuf and NumPy."""

from service import errors
from service.client import Client, LayerTrace, Prediction, StreamPrediction, Trace, WeightChange
from service.version import version

__version__ = version()
__all__ = ["Client", "LayerTrace", "Prediction", "StreamPrediction", "Trace", "WeightChange", "__version__", "errors"]
