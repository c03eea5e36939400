"""Damaged and hostile `.safetensors` files are refused before anything is allocated."""

import json

import numpy as np
import pytest

from service.convert import safetensors
from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.limits import ReadLimits

LIMITS = ReadLimits()
GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BODY = np.array([1, 2], np.float32).tobytes()


def written(path, header, body=BODY, size=None):
    """A file with a header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + body)
    return path


def test_a_whole_file_is_read(tmp_path):
    """The arrays by name; what a header says besides them is left alone."""
    found = safetensors.read(written(tmp_path / "m", {"__metadata__": {"format": "pt"}, "w": GOOD}), LIMITS)
    assert found.keys() == {"w"}
    assert found["w"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "header",
    [
        b"{", b"[]", b"[" * 50_000, {"w": 1}, {"w": {**GOOD, "shape": [3]}},
        {"w": {**GOOD, "shape": [1 << 40, 1 << 40]}},
        {"w": {**GOOD, "shape": [-2]}}, {"w": {**GOOD, "shape": None}}, {"w": {**GOOD, "data_offsets": [0, 80]}},
        {"w": {**GOOD, "data_offsets": [8, 0]}}, {"w": {**GOOD, "data_offsets": [0]}},
        {"w": {**GOOD, "shape": [True, 2]}},
    ],
)  # fmt: skip
def test_headers_that_do_not_fit(tmp_path, header):
    """What is no header, and arrays that are not in the file at their size."""
    with pytest.raises(CorruptModelError):
        safetensors.read(written(tmp_path / "m", header), LIMITS)


def test_other_files(tmp_path):
    """Short files, headers longer than the file, pickles, other types, and what is not finite."""
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(CorruptModelError, match="is not a"):
        safetensors.read(tmp_path / "short", LIMITS)
    with pytest.raises(CorruptModelError, match="is not a"):
        safetensors.read(written(tmp_path / "m", {"w": GOOD}, size=1 << 40), LIMITS)
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnsupportedModelError, match=r"a pickle, as torch.save writes.*save_file"):
        safetensors.read(tmp_path / "m.pt", LIMITS)
    for kind in ("BF16", "I64", 3):
        with pytest.raises(UnsupportedModelError, match="expected F16, F32, F64"):
            safetensors.read(written(tmp_path / "m", {"w": {**GOOD, "dtype": kind}}), LIMITS)
    with pytest.raises(CorruptModelError, match="not finite"):
        safetensors.read(written(tmp_path / "m", {"w": GOOD}, np.full(2, np.nan, np.float32).tobytes()), LIMITS)
    with pytest.raises(LimitExceededError):
        safetensors.read(written(tmp_path / "m", {"w": GOOD}), ReadLimits(file_bytes=10))
