"""service.datatypes: the element types of the wire."""

import sys

from service.datatypes import DATA_TYPES, DTYPES
from service.pb import unroll_pb2 as pb


def test_every_type_of_the_proto_is_there():
    """Each data type has one NumPy type of its own, little-endian, and the way back leads to it."""
    assert set(DTYPES) == set(pb.DataType.values()) - {pb.DATA_TYPE_UNSPECIFIED}
    assert {DATA_TYPES[dtype] for dtype in DTYPES.values()} == set(DTYPES)
    for data_type, dtype in DTYPES.items():
        name = "string" if dtype.kind == "O" else dtype.name
        assert pb.DataType.Name(data_type) == f"DATA_TYPE_{name.upper()}"
        assert dtype.byteorder == "|" or dtype.newbyteorder("<") == dtype
        assert sys.byteorder == "big" or dtype.isnative
