"""Statistics of a weight, and of the difference of two. Computed in chunks, in double precision."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Check = Callable[[], None]  # called between pieces; what it raises ends the computation

PIECE = 1 << 20  # elements at a time
# Multiplications, rows · columns · the smaller of them, up to which a matrix is decomposed: some tenths of a second.
# An LSTM of 256 units is within it; one of 1,024 would take 22 s.
DECOMPOSED = 1 << 26


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
    note: str = ""  # what was not computed, and why


@dataclass(frozen=True)
class Difference:
    """How a weight differs from a base of the same shape."""

    max_change: float
    mean_change: float
    relative_norm: float  # |new - old| / |old|
    cosine: float
    changed: int


class Weighted(Protocol):
    """A network."""

    @property
    def weights(self) -> Mapping[str, Array]:
        """Its weights by name; may raise a ServiceError."""


class WeightStatistics:
    """The statistics of the weights of one network, each computed when it is first asked for, and kept."""

    def __init__(self, network: Weighted) -> None:
        self._network = network
        self._computing = threading.Lock()  # one thread computes at a time; it guards the next
        self._found: dict[str, Statistics] = {}

    def known(self, names: Iterable[str]) -> bool:
        """Whether the statistics of all these weights were computed before."""
        return all(name in self._found for name in names)

    def of(self, name: str, check: Check = lambda: None) -> Statistics:
        """The statistics of a weight. `check` is called between pieces; what it raises is raised."""
        found = self._found.get(name)
        if found is None:
            with self._computing:
                check()  # the wait may have been long
                found = self._found.get(name)
                if found is None:
                    found = self._found[name] = describe(name, self._network.weights[name], check)
        return found


def describe(name: str, weight: Array, check: Check = lambda: None) -> Statistics:
    """Statistics of a weight named `LAYER/kernel` and so on.

    A recurrent kernel of shape (units, gates · units) is the matrices of its gates side by side; the spectral radius
    max |λ| of each shows whether the linear part of that recurrence grows or decays (R. Pascanu, T. Mikolov,
    Y. Bengio: On the difficulty of training recurrent neural networks, 2013, section 2).

    Eigenvalues and singular values of a matrix that is larger than DECOMPOSED are left out, and the note says so.
    """
    count = zeros = non_finite = 0
    smallest, largest, total, squares = math.inf, -math.inf, 0.0, 0.0
    for piece in _pieces(weight, check):
        good = piece[np.isfinite(piece)]
        non_finite += piece.size - good.size
        if good.size:
            count += good.size
            zeros += good.size - int(np.count_nonzero(good))
            smallest, largest = min(smallest, float(good.min())), max(largest, float(good.max()))
            total += float(good.sum())
            squares += float(good @ good)
    mean = total / count if count else 0.0
    deviations = 0.0
    for piece in _pieces(weight, check):
        apart = piece[np.isfinite(piece)] - mean
        deviations += float(apart @ apart)
    radii, singular, note = _spectrum(name, weight, check) if count and not non_finite else ((), None, "")
    return Statistics(
        min=smallest if count else 0.0,
        max=largest if count else 0.0,
        mean=mean,
        standard_deviation=math.sqrt(deviations / count) if count else 0.0,
        l2_norm=math.sqrt(squares),
        zeros=zeros,
        non_finite=non_finite,
        spectral_radius=radii,
        largest_singular_value=singular,
        note=note,
    )


def compare(base: Array, new: Array, check: Check = lambda: None) -> Difference:
    """How `new` differs from `base`; both of one shape. Norms and cosine see the arrays as vectors."""
    largest = total = old_squares = new_squares = change_squares = product = 0.0
    changed = 0
    for old, now in zip(_pieces(base, check), _pieces(new), strict=True):
        change = now - old
        size = np.abs(change)
        largest, total = max(largest, float(size.max())), total + float(size.sum())
        changed += int(np.count_nonzero(change))
        old_squares, new_squares = old_squares + float(old @ old), new_squares + float(now @ now)
        change_squares, product = change_squares + float(change @ change), product + float(old @ now)
    norm_old, norm_new, norm_change = map(math.sqrt, (old_squares, new_squares, change_squares))
    relative = norm_change / norm_old if norm_old else math.inf if norm_change else 0.0
    if norm_old and norm_new:
        cosine = max(-1.0, min(1.0, product / (norm_old * norm_new)))
    else:
        cosine = 1.0 if norm_old == norm_new else 0.0
    return Difference(largest, total / new.size if new.size else 0.0, relative, cosine, changed)


def _pieces(array: Array, check: Check = lambda: None) -> Iterator[npt.NDArray[np.float64]]:
    """The elements of an array, so many at a time, in double precision."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, PIECE):
        check()
        yield flat[start : start + PIECE].astype(np.float64)


def _spectrum(name: str, weight: Array, check: Check) -> tuple[tuple[float, ...], float | None, str]:
    """Spectral radii and largest singular value of a weight, where it has them; and what was left out."""
    if weight.ndim != 2:
        return (), None, ""
    rows, columns = weight.shape
    recurrent = name.rpartition("/")[2] == "recurrent_kernel" and columns % rows == 0
    if rows * columns * min(rows, columns) > DECOMPOSED:
        what = "spectral_radius and largest_singular_value are" if recurrent else "largest_singular_value is"
        return (), None, f"{what} not computed for a matrix of {rows} by {columns}: it would take seconds"
    matrix = weight.astype(np.float64)
    radii: list[float] = []
    for block in np.split(matrix, columns // rows, axis=1) if recurrent else ():  # (units, units) each
        check()
        radii.append(float(np.abs(np.linalg.eigvals(block)).max()))
    check()
    return tuple(sorted(radii, reverse=True)), float(np.linalg.norm(matrix, 2)), ""
