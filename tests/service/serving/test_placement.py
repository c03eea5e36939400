"""service.serving.placement: what is short computes at once, all else in a slot."""

import numpy as np
import pytest

from service.model.results import Result
from service.serving.placement import Placed
from service.serving.slots import Slots


class Engine:
    """Says whether a slot was taken when it was asked."""

    def __init__(self, slots):
        self.slots = slots

    def forward(self, inputs, initial_state=None):
        return Result({"free": self.slots._free}, {})

    def prepare(self, shape):
        return lambda _raw: (bytes([self.slots._free]), None)


@pytest.mark.parametrize(("elements", "free"), [(10, 1), (11, 0)])
def test_long_computations_take_a_slot(elements, free):
    """Up to the bytes that are short no slot is taken, beyond them one is, and it is given back."""
    slots = Slots(1)
    placed, x = Placed(Engine(slots), 40, slots), np.zeros(elements, np.float32)
    assert placed.forward({"x": x}).outputs["free"] == free
    assert placed.prepare((1, elements, 1))(x.tobytes())[0] == bytes([free])
    assert slots._free == 1
