"""The element types of tensors on the wire, and their NumPy names."""

import numpy as np

from service.pb import unroll_pb2 as pb

DTYPES: dict["pb.DataType", "np.dtype[np.generic]"] = {
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
    pb.DATA_TYPE_STRING: np.dtype(object),  # of Python's strings
}
DATA_TYPES = {dtype: data_type for data_type, dtype in DTYPES.items()}
