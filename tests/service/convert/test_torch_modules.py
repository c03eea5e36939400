"""Networks of PyTorch become files of Keras with the numbers that PyTorch computed."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.convert import torch_proof
from service.convert.conversion import convert_torch
from service.convert.torch_modules import description
from service.errors import CorruptModelError, InvalidArgumentError, UnsupportedModelError

FOLDER = Path(__file__).parents[2] / "data" / "torch"
NUMBERS = np.load(FOLDER / "numbers.npz")
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Each network, converted: the target, what came of it, and the difference from PyTorch, by name."""
    folder = tmp_path_factory.mktemp("torch")
    targets = {name: folder / f"{name}.keras" for name in NAMES}
    return {
        name: (target, *convert_torch(FOLDER / f"{name}.safetensors", FOLDER / f"{name}.yaml", target))
        for name, target in targets.items()
    }


def output(network, name):
    """What a network makes of the stored inputs."""
    (spec,) = network.inputs
    (found,) = network.forward({spec.name: NUMBERS[f"{name}/x"].astype(spec.dtype)}).outputs.values()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_network_computes_what_pytorch_computed(converted, name):
    """Layers, directions, biases, both cells' forms, and each way to take a timestep: PyTorch's own numbers."""
    _, made, error = converted[name]
    np.testing.assert_allclose(output(made.network, name), NUMBERS[f"{name}/y"], atol=5e-7)
    assert (error is not None) == torch_proof.installed()
    assert error is None or error <= 1


def test_keras_opens_what_is_written(converted):
    """Keras 3 loads each file, and computes what PyTorch did."""
    import keras

    for name, (path, _, _) in converted.items():
        model = keras.saving.load_model(path, compile=False)
        found = model(NUMBERS[f"{name}/x"], training=False)
        np.testing.assert_allclose(found, NUMBERS[f"{name}/y"], atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_itself(name):
    """Where PyTorch is installed, its own forward pass gives the stored numbers."""
    pytest.importorskip("torch")
    from service.convert import safetensors
    from service.model.limits import ReadLimits

    tensors = safetensors.read(FOLDER / f"{name}.safetensors", ReadLimits())
    found = torch_proof.forward(description(FOLDER / f"{name}.yaml"), tensors, NUMBERS[f"{name}/x"])
    np.testing.assert_allclose(found, NUMBERS[f"{name}/y"], atol=5e-7)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("modules: 3", "expected `modules:` with a list of modules"),
        ("a: [", "is not YAML"),
        (
            "modules: [{lstm: Conv2d}]",
            r"modules\[0\].*is not a module; expected NAME: KIND, with one of RNN",
        ),
        ("modules: [{lstm: LSTM, nonlinearity: relu}]", "is not a module"),
        ("modules: [{lstm: LSTM}, somewhere]", r"modules\[1\]: somewhere is not a module"),
    ],
)
def test_descriptions_that_are_none(tmp_path, said, message):
    """Each is refused with the place and what may stand there."""
    (tmp_path / "m.yaml").write_text(said)
    with pytest.raises(InvalidArgumentError, match=message):
        description(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("modules", "kind", "message"),
    [
        (["{lstm: LSTM}"], CorruptModelError, "has head.bias, which the description does not name"),
        (["{lstm: GRU}", "{head: Linear}"], CorruptModelError, "lstm: its weights are not those of a GRU"),
        (["{rnn: LSTM}", "{head: Linear}"], CorruptModelError, "no rnn.weight_ih_l0, which the description names"),
        (["{lstm: LSTM}", "{tail: Linear}"], CorruptModelError, "no tail.weight, which the description names"),
        (["{head: Linear}", "{lstm: LSTM}"], UnsupportedModelError, "lstm"),
        (["{lstm: LSTM}", "{head: Linear}", "final state"], UnsupportedModelError, "stands behind a recurrent module"),
        (["ReLU"], UnsupportedModelError, "no module with weights"),
    ],
)
def test_descriptions_of_other_networks(tmp_path, modules, kind, message):
    """A description that does not fit the weights is refused, with the first thing that differs; nothing is written."""
    (tmp_path / "m.yaml").write_text(f"modules: [{', '.join(modules)}]")
    with pytest.raises((kind, CorruptModelError), match=message):
        convert_torch(FOLDER / "lstm.safetensors", tmp_path / "m.yaml", tmp_path / "new.keras")
    assert not list(tmp_path.glob("new*"))


def test_projections_are_refused(tmp_path):
    """An LSTM with projections has no equal in Keras."""
    arrays = {"lstm.weight_ih_l0": (8, 3), "lstm.weight_hh_l0": (8, 1), "lstm.weight_hr_l0": (1, 2)}
    header, body = {}, b""
    for name, shape in arrays.items():
        data = np.ones(shape, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    (tmp_path / "m.yaml").write_text("modules: [{lstm: LSTM}]")
    with pytest.raises(UnsupportedModelError, match=r"lstm: projections \(proj_size\) are not supported"):
        convert_torch(tmp_path / "m.safetensors", tmp_path / "m.yaml", tmp_path / "new.keras")
