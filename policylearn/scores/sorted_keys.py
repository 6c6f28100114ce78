"""Tables whose rows are known by keys that ascend, each there once."""

import numpy as np


def group(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How to sort rows by key, equal ones in the order they have: (order [N], places of the first of each key there).

    >>> group(np.array([7, -1, 7]))
    (array([1, 0, 2]), array([0, 1]))
    """
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    return order, (np.diff(ascending, prepend=~ascending[:1]) != 0).nonzero()[0]


def rows_of_keys(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Row of every key in a table of them, -1 where it is not there; int64 of the shape of `keys`.

    >>> rows_of_keys(np.array([-7, 5]), np.array([5, 6, -7]))
    array([ 1, -1,  0])
    """
    if not len(table):
        return np.full(keys.shape, -1)
    row = np.searchsorted(table, keys).clip(max=len(table) - 1)
    return np.where(table[row] == keys, row, -1)
