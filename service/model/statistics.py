"""Weights in a few numbers: what one holds, and how two differ."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Statistics:
    """A weight in a few numbers; elements that are not finite are counted, and left out of the rest."""

    min: float
    max: float
    mean: float
    standard_deviation: float  # of the population
    l2_norm: float
    zeros: int
    non_finite: int
    spectral_radius: tuple[float, ...]  # of each square block of a recurrent kernel, largest first; else ()
    largest_singular_value: float | None  # of a matrix; None for other ranks


@dataclass(frozen=True)
class Difference:
    """How a weight differs from a base of the same shape."""

    max_change: float
    mean_change: float
    relative_norm: float  # |new - old| / |old|
    cosine: float
    changed: int
    difference: Array  # new - old


def describe(name: str, weight: Array) -> Statistics:
    """Statistics of a weight named `LAYER/kernel` and so on, computed in double precision.

    A recurrent kernel of shape (units, gates · units) is the matrices of its gates side by side; the spectral radius
    max |λ| of each tells whether the linear part of that recurrence grows or decays (R. Pascanu, T. Mikolov,
    Y. Bengio: On the difficulty of training recurrent neural networks, 2013, section 2).
    """
    values = np.asarray(weight, np.float64)
    good = values[np.isfinite(values)]
    matrix = values if values.ndim == 2 and good.size == values.size and values.size else None
    radii: list[float] = []
    if matrix is not None and name.rpartition("/")[2] == "recurrent_kernel" and matrix.shape[1] % matrix.shape[0] == 0:
        blocks = np.split(matrix, matrix.shape[1] // matrix.shape[0], axis=1)  # (units, units) each
        radii = sorted((float(np.abs(np.linalg.eigvals(block)).max()) for block in blocks), reverse=True)
    return Statistics(
        min=float(good.min()) if good.size else 0.0,
        max=float(good.max()) if good.size else 0.0,
        mean=float(good.mean()) if good.size else 0.0,
        standard_deviation=float(good.std()) if good.size else 0.0,
        l2_norm=float(np.linalg.norm(good)),
        zeros=int(np.count_nonzero(good == 0)),
        non_finite=int(values.size - good.size),
        spectral_radius=tuple(radii),
        largest_singular_value=float(np.linalg.norm(matrix, 2)) if matrix is not None else None,
    )


def compare(base: Array, new: Array) -> Difference:
    """How `new` differs from `base`; both of one shape. Norms and cosine see the arrays as vectors."""
    old64, new64 = np.asarray(base, np.float64).ravel(), np.asarray(new, np.float64).ravel()
    change = new64 - old64
    norm_old, norm_new, norm_change = (float(np.linalg.norm(v)) for v in (old64, new64, change))
    relative = norm_change / norm_old if norm_old else float("inf") if norm_change else 0.0
    if norm_old and norm_new:
        cosine = float(np.clip(old64 @ new64 / (norm_old * norm_new), -1.0, 1.0))
    else:
        cosine = 1.0 if norm_old == norm_new else 0.0
    return Difference(
        max_change=float(np.abs(change).max(initial=0.0)),
        mean_change=float(np.abs(change).mean()) if change.size else 0.0,
        relative_norm=relative,
        cosine=cosine,
        changed=int(np.count_nonzero(change)),
        difference=np.asarray(new) - np.asarray(base),
    )
