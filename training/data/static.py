"""Columns that are constant in each series, such as the depth of a well: a check that they are."""

from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from training.data.files import Table


def check(table: Table, names: tuple[str, ...]) -> None:
    """Raises InvalidArgumentError for a column that has two values in one series. Rows are in order of series."""
    if not names or table.groups is None:
        return
    first = np.flatnonzero(np.diff(table.groups, prepend=-1))
    beginning = np.repeat(first, np.diff(np.append(first, len(table.groups))))  # of each row's series
    for name in names:
        if name in table.categories:
            column: Any = table.categories[name].texts(slice(None))
            changed = column != column[beginning]
        else:
            column = table.features[:, table.columns.features.index(name)]
            changed = ~np.isclose(column, column[beginning], rtol=0, atol=0, equal_nan=True)
        if changed.any():
            at = int(np.argmax(changed))
            raise InvalidArgumentError(
                f"static: column {name!r} has {str(column[beginning[at]])!r} and {str(column[at])!r} in the series "
                f"{table.group_names[table.groups[at]]!r}; expected one value",
                field="static",
            )
