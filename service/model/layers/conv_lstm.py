"""ConvLSTM1D: an LSTM over timesteps that are rows of positions, with convolutions in place of products."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from service.model.layers.cells import LSTMCell, Sums, and_one, product, sigmoids_first
from service.model.layers.convolution import padding_of, windows
from service.model.layers.options import MAX_EXTENT, MAX_STEPS, Option, choice, size, sizes
from service.model.layers.recurrent import SEQUENCE_OPTIONS, CellLayer
from service.model.layers.shape import DATA_FORMAT
from service.model.tensors import Array, DType, Shape, Tensor


@dataclass(frozen=True)
class Sliding:
    """Windows over the positions of one timestep."""

    positions: int
    channels: int
    width: int
    stride: int
    dilation: int
    padding: str
    first: bool  # whether channels come before positions

    @property
    def reach(self) -> int:
        """Positions from the first to the last of a window."""
        return (self.width - 1) * self.dilation + 1

    @property
    def places(self) -> int:
        """How many windows there are."""
        return windows(self.positions, self.reach, self.stride, self.padding == "valid")

    @property
    def rows(self) -> int:
        """Numbers in a window."""
        return self.width * self.channels

    def memory(self, batch: int, dtype: DType) -> tuple[Array, Array]:
        """Two views of the same zeros: a timestep without its padding, as it is laid out, (…, batch); and its windows.

        Windows are (width, channels, places, batch). Those of one place in the window do not overlap.
        """
        before, after = padding_of(self.positions, self.reach, self.stride, self.padding)
        wide = np.zeros((before + self.positions + after, self.channels, batch), dtype)
        inner = wide[before : before + self.positions]
        along, channel, sequence = wide.strides
        seen = np.lib.stride_tricks.as_strided(
            wide,
            (self.width, self.channels, self.places, batch),
            (self.dilation * along, channel, self.stride * along, sequence),
        )
        return inner.swapaxes(0, 1) if self.first else inner, seen

    def window(self, place: int) -> list[tuple[tuple[int, int], int]]:
        """What the window at a place sees without its padding: where in the window, (k, channel), and which unit."""
        before, _ = padding_of(self.positions, self.reach, self.stride, self.padding)
        seen = [(k, place * self.stride + k * self.dilation - before) for k in range(self.width)]
        return [
            ((k, channel), channel * self.positions + at if self.first else at * self.channels + channel)
            for k, at in seen
            if 0 <= at < self.positions
            for channel in range(self.channels)
        ]


class ConvLSTMCell(LSTMCell):
    """An LSTM cell whose x·W and h·U are convolutions over positions; X. Shi et al., Convolutional LSTM Network, 2015.

    W (k, channels, 4 · filters), U (k, filters, 4 · filters). The convolution of the state has neither strides nor
    dilation. Input and state are (positions, channels), or (channels, positions) with `channels_first`. A cell that is
    not `over` positions yet knows its filters only.
    """

    CLASS = "ConvLSTMCell"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "filters": size(),
        "kernel_size": sizes(1),
        "strides": sizes(1, 1, (1,)),
        "padding": choice("valid", "same", default="valid"),
        "data_format": DATA_FORMAT,
        "dilation_rate": sizes(1, 1, (1,)),
        **{name: option for name, option in LSTMCell.OPTIONS.items() if name != "units"},
    }
    SIZE = "filters"
    given: tuple[int, ...] = ()  # the shape of the input at one timestep
    of_input: Sliding
    of_state: Sliding

    @property
    def filters(self) -> int:
        """Channels of the output."""
        return int(self.options["filters"])

    def over(self, given: tuple[int, ...]) -> "ConvLSTMCell":
        """The cell for inputs of this shape."""
        o = self.options
        (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
        first = o["data_format"] == "channels_first"
        channels, positions = given if first else given[::-1]
        cell = copy.copy(self)
        cell.given = given
        cell.of_input = Sliding(positions, channels, width, stride, dilation, o["padding"], first)
        places = cell.of_input.places
        cell.of_state = Sliding(places, self.filters, width, 1, 1, "same", first)
        cell.shape = (self.filters, places) if first else (places, self.filters)
        cell.units = math.prod(cell.shape)
        return cell

    def shapes(self, given: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        """Kernels of windows."""
        (width,) = self.options["kernel_size"]
        found: list[tuple[str, tuple[int, ...]]] = [
            ("kernel", (width, self.of_input.channels, 4 * self.filters)),
            ("recurrent_kernel", (width, self.filters, 4 * self.filters)),
        ]
        return [*found, ("bias", self.bias_shape())] if self.use_bias else found

    def bias_shape(self) -> tuple[int, ...]:
        """One number for each gate of a filter."""
        return (4 * self.filters,)

    def sums(self, weights: Mapping[str, Array]) -> Sums:
        """The windows of state and input are laid out, (h, x, 1) as in an LSTM, and multiplied at once."""
        kernel, recurrent, bias = (self.cast(weights, name) for name in ("kernel", "recurrent_kernel", "bias"))
        matrix = np.concatenate([w.reshape(-1, 4 * self.filters) for w in (recurrent, kernel, bias)])
        multiply = product(sigmoids_first(matrix))
        of_state, of_input, places = self.of_state, self.of_input, self.of_input.places

        def add_up(batch: int, sums: Array) -> tuple[Array, Callable[[Array], object]]:
            kind = kernel.dtype
            h, all_windows = np.zeros((self.units, batch), kind), and_one(len(matrix) - 1, places * batch, kind)
            state, state_windows = of_state.memory(batch, kind)
            x, x_windows = of_input.memory(batch, kind)
            into_state = all_windows[: of_state.rows].reshape(state_windows.shape)
            into_x = all_windows[of_state.rows : -1].reshape(x_windows.shape)
            made = np.empty((4 * self.filters, places * batch), kind)
            by_filter, own = self.by_filter(sums), h.reshape(state.shape)

            def take(given: Array) -> None:
                state[...], x[...] = own, given.reshape(x.shape)
                into_state[...], into_x[...] = state_windows, x_windows
                multiply(all_windows, made)
                by_filter[...] = made.reshape(by_filter.shape)

            return h, take

        return add_up

    def by_filter(self, sums: Array) -> Array:
        """A view of sums, (4 · units, batch), as (4, filters, places, batch)."""
        laid = sums.reshape(4, *self.shape, sums.shape[1])
        return laid if self.of_state.first else laid.swapaxes(1, 2)

    def place_and_filter(self, unit: int) -> tuple[int, int]:
        """Which window, and which of its filters, a unit of the state is."""
        across = self.shape[1]
        first, second = divmod(unit, across)
        return (second, first) if self.of_state.first else (first, second)

    def workspace(self) -> int:
        """Elements that it lays out for one sequence."""
        laid = (self.of_state.rows + self.of_input.rows + 1) * self.of_input.places
        padded = (self.of_input.positions + 2 * self.of_input.reach) * self.of_input.channels
        return laid + padded + (2 * self.of_state.width + 16) * self.units


class ConvLSTM1D(CellLayer):
    """ConvLSTMCell over the timesteps."""

    CLASS = "ConvLSTM1D"
    NOTE = "`stateful=True` is served statelessly; a trace shows a state as one row of units"
    TYPES = "f"
    CELL = ConvLSTMCell
    OPTIONS: ClassVar[Mapping[str, Option]] = {**ConvLSTMCell.OPTIONS, **SEQUENCE_OPTIONS}
    cell: ConvLSTMCell

    def fitted(self, x: Tensor) -> ConvLSTMCell:
        """The cell over as many positions as the input has."""
        if x.rank != 4:
            raise self.unsupported(f"expected an input (batch, timesteps, positions, channels), got {x.rank} axes")
        given = known(x.shape[2:])
        if given is None:
            raise self.unsupported("the number of positions and of channels must be known")
        if self.cell.given:
            if self.cell.given != given:
                raise self.unsupported(f"two calls of it with timesteps of {self.cell.given} and of {given}")
            return self.cell
        o = self.options
        if max(o["strides"]) > 1 and max(o["dilation_rate"]) > 1:
            raise self.unsupported("strides and dilation_rate above 1 together are not supported")
        cell = self.cell.over(given)
        if max(cell.of_input.reach, cell.of_state.reach) > MAX_STEPS:
            raise self.unsupported("the window is too wide")
        if cell.of_input.places < 1:
            raise self.unsupported(f"{cell.of_input.positions} positions are fewer than one window")
        if max(cell.units, *(math.prod(shape) for _, shape in cell.shapes(given))) > MAX_EXTENT * 8:
            raise self.unsupported("the state or the kernel is too large")
        return cell

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows of a timestep, each written out, and what a trace keeps of any recurrent layer."""
        return self.cell.workspace() + super().workspace(inputs, outputs, traced=traced)

    def over_units(self, mask: Array) -> Array:
        """A mask of positions (Masking makes one of frames) holds for all channels of each."""
        if mask.ndim == 2:
            return mask
        if mask.ndim != 3 or mask.shape[2] not in {1, self.cell.shape[0]}:
            raise ValueError(f"a mask of shape {mask.shape} does not fit states of shape {self.cell.shape}")
        whole = np.broadcast_to(mask[..., None], (*mask.shape[:2], *self.cell.shape))
        return whole.reshape(*mask.shape[:2], self.cell.units)


def known(shape: Shape) -> tuple[int, ...] | None:
    """A shape all of whose extents are known; None if one is not."""
    found = tuple(extent for extent in shape if extent is not None)
    return found if len(found) == len(shape) else None
