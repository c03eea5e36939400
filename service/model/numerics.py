"""Matrix products in Keras's precision whose results do not depend on the number of timesteps in a call."""

import numpy as np

from service.model.tensors import Array


def prepare(weight: Array) -> Array:
    """A weight as `product` wants it: half precision is multiplied in single and rounded once, as Eigen does."""
    return np.ascontiguousarray(weight, np.float32) if weight.dtype == np.float16 else np.ascontiguousarray(weight)


def product(x: Array, weight: Array) -> Array:
    """x · weight over the last axis of x; x (…, n), weight (n, m) from `prepare`, result (…, m) of the type of x.

    BLAS chooses its kernel, and with it the order of additions, by the number of rows. A product over (batch, time)
    rows would therefore change its last bits with the number of timesteps. So sequences are multiplied timestep by
    timestep (NumPy makes one BLAS call for each), and feeding them in pieces gives the same bits.
    """
    if x.dtype == np.float16:
        return product(x.astype(np.float32), weight).astype(np.float16)
    if x.ndim == 2:
        return np.dot(x, weight)  # with less to do before it calls BLAS than np.matmul
    if x.ndim != 3:
        return np.matmul(x, weight)
    return np.matmul(time_major(x), weight).swapaxes(0, 1)  # (batch, time, m)


def multiply(x: Array, y: Array) -> Array:
    """x·y over the last axis of x and the last but one of y, for each element of the axes before; no weight among them.

    Half precision is multiplied in single and rounded once.
    """
    if x.dtype == np.float16:
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(np.float16)
    return np.matmul(x, y)


def time_major(x: Array) -> Array:
    """x (batch, time, …) as a contiguous (time, batch, …)."""
    return np.ascontiguousarray(x.swapaxes(0, 1))
