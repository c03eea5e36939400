"""MLflow's input formats as arrays: those of its scoring servers and of `mlflow deployments predict`.

The formats are `inputs`, `instances`, `dataframe_split` and `dataframe_records`; DataFrames, arrays, and
arrays by name are taken too. The first axis is always the batch: a row of a table is a sequence, and its cells hold
arrays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError

Array = npt.NDArray[Any]


def arrays(data: Any, names: Sequence[str]) -> dict[str, Array]:
    """The arrays that a payload holds, by input, for a network whose inputs have these names.

    A DataFrame may hold a whole payload: `mlflow deployments predict` reads its file as one, whatever is in it.

    Raises InvalidArgumentError for what is in none of the formats, or does not make arrays of numbers or texts.
    """
    if hasattr(data, "columns"):
        return _frame(data, names)
    if isinstance(data, Mapping):
        if _same(data, names):
            return {name: _array(data[name], name) for name in names}
        if len(data) == 1 and (read := FORMATS.get(next(iter(data)))):
            return read(next(iter(data.values())), names)
        raise InvalidArgumentError(
            f"inputs: expected {_any_of(names)}, or one of {', '.join(FORMATS)}, got {_list(data)}", field="inputs"
        )
    return {_only(names): _array(data, "inputs")}


def _inputs(data: Any, names: Sequence[str]) -> dict[str, Array]:
    """`inputs`: a tensor, or tensors by name."""
    if not isinstance(data, Mapping):
        return {_only(names): _array(data, "inputs")}
    if not _same(data, names):
        raise InvalidArgumentError(f"inputs: expected {_any_of(names)}, got {_list(data)}", field="inputs")
    return {name: _array(data[name], name) for name in names}


def _records(data: Any, names: Sequence[str]) -> dict[str, Array]:
    """`instances` and `dataframe_records`: sequences one after the other, each a tensor or tensors by name."""
    if not isinstance(data, Sequence) or not all(isinstance(record, Mapping) for record in data):
        return {_only(names): _array(data, "inputs")}
    if not data:
        raise InvalidArgumentError("inputs: there is no record", field="inputs")
    columns = list(data[0])
    if any(list(record) != columns for record in data):
        raise InvalidArgumentError("inputs: the records have different names", field="inputs")
    return _table(columns, [[record[column] for column in columns] for record in data], names)


def _split(data: Any, names: Sequence[str]) -> dict[str, Array]:
    """`dataframe_split`: names of columns, and rows of cells."""
    if not isinstance(data, Mapping) or not {"columns", "data"} <= set(data):
        raise InvalidArgumentError("dataframe_split: expected columns and data", field="inputs")
    return _table([str(column) for column in data["columns"]], list(data["data"]), names)


def _frame(frame: Any, names: Sequence[str]) -> dict[str, Array]:
    """A DataFrame: a table, or a payload that was read as one."""
    columns = [str(column) for column in frame.columns]
    if len(columns) == 1 and not _same(columns, names) and (read := FORMATS.get(columns[0])):
        column = frame[frame.columns[0]]
        by_name = any(isinstance(label, str) for label in column.index)  # the payload held an object, not a list
        return read(dict(column.items()) if by_name else list(column), names)
    return _table(columns, frame.to_numpy(dtype=object).tolist(), names)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dict[str, Array]:
    """A table: a column for each input, by name; for a network with one input also all columns as one array."""
    if _same(columns, names):
        return {name: _array([row[columns.index(name)] for row in rows], name) for name in names}
    if len(names) != 1:
        raise InvalidArgumentError(f"inputs: expected {_any_of(names)}, got columns {_list(columns)}", field="inputs")
    return {names[0]: _array([row[0] for row in rows] if len(columns) == 1 else rows, names[0])}


FORMATS: dict[str, Callable[[Any, Sequence[str]], dict[str, Array]]] = {
    "inputs": _inputs,
    "instances": _records,
    "dataframe_split": _split,
    "dataframe_records": _records,
}


def _array(data: Any, what: str) -> Array:
    try:
        array = np.array(data)
    except ValueError:
        array = np.array(None)
    texts = array.dtype.kind == "U" and all(isinstance(one, str) for one in np.array(data, object).flat)
    if array.dtype.kind not in "fiub" and not texts:
        raise InvalidArgumentError(
            f"{what}: expected numbers or texts, and sequences of one length; send those of different lengths by "
            "themselves",
            field=what,
        )
    return array


def _only(names: Sequence[str]) -> str:
    if len(names) != 1:
        raise InvalidArgumentError(
            f"inputs: the network has several inputs, name them: {', '.join(names)}", field="inputs"
        )
    return names[0]


def _same(some: Collection[Any], others: Collection[str]) -> bool:
    return len(some) == len(others) and set(some) == set(others)


def _any_of(names: Sequence[str]) -> str:
    return f"the input{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _list(names: Collection[Any]) -> str:
    return ", ".join(map(str, names)) or "nothing"
