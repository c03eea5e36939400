"""service.api.selection: the part of a trace that a client asks for, and what is no part of it."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.snapshot import VersionEntry
from tests.service.support import R2_INPUTS, R3_INPUTS, entry, keep, serving

pytestmark = pytest.mark.usefixtures("edge")


def both_ways():
    """A network whose layers show tensors under prefixes, and outputs with and without time."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((None, 2), name="x"),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both"),
            layers.GRU(3, name="last"),
        ]
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory, edge):  # noqa: ARG001 - it must be there before
    """A client of a server of that network."""
    folder = tmp_path_factory.mktemp("both") / "v"
    version = VersionEntry("1", keep(both_ways(), folder, R3_INPUTS), str(folder))
    with serving(entry("both", "champion", v1=version)) as (_, client):
        yield client


def test_tensors_by_name(network):
    """A name means that tensor of every layer, under every prefix; a whole name means that one alone."""
    everything = network.trace(R3_INPUTS)
    found = network.trace(R3_INPUTS, names=["hidden_state"]).layers
    assert set(found["both"].tensors) == {"forward/hidden_state", "backward/hidden_state"}
    assert set(found["last"].tensors) == {"hidden_state"}
    for name, array in found["both"].tensors.items():
        np.testing.assert_array_equal(array, everything.layers["both"].tensors[name])
    found = network.trace(R3_INPUTS, names=["forward/hidden_state"]).layers
    assert (set(found["both"].tensors), set(found["last"].tensors)) == ({"forward/hidden_state"}, set())


def test_a_range_of_timesteps(network):
    """Tensors over time are cut to the range, those without time and the outputs are whole, and all is computed."""
    everything, found = network.trace(R3_INPUTS), network.trace(R3_INPUTS, timesteps=(1, 3))
    for layer, shown in everything.layers.items():
        for name, array in shown.tensors.items():
            expected = array[:, 1:3] if array.ndim == 3 else array
            np.testing.assert_array_equal(found.layers[layer].tensors[name], expected)
    assert found.layers["last"].tensors["output"].shape == (3, 3)
    assert found.layers["last"].tensors["hidden_state"].shape == (3, 2, 3)
    np.testing.assert_array_equal(found.outputs["last"], everything.outputs["last"])


@pytest.mark.parametrize("between", [(2, 2), (2, 1), (-1, 2), (0, 4), (3, 4)])
def test_a_range_that_does_not_fit(client, between):
    """A range that is empty or reaches beyond the inputs is refused with their length."""
    with pytest.raises(InvalidArgumentError, match=r"timesteps: expected 0 <= start < stop <= 3") as caught:
        client.trace(R2_INPUTS, model="linear", timesteps=between)
    assert caught.value.field == "timesteps"


def test_a_tensor_that_is_not_there(client):
    """A tensor that none of the layers has is refused, and those that are there are named."""
    with pytest.raises(InvalidArgumentError, match=r"no layer that is shown has a tensor 'cell_state'; there are: .*"):
        client.trace(R2_INPUTS, model="linear", names=["hidden_state", "cell_state"])
