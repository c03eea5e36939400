"""A file that is registered names nothing that is not Keras's own: such names are found, left out, or refused."""

import json
import types
import zipfile

import pytest

from registry import portable
from registry.errors import ArtifactCorruptError, ArtifactRefusedError

LAYER = {"module": "keras.layers", "class_name": "GRU", "config": {"units": 2}, "registered_name": None}
ADAM = {"module": "keras.optimizers", "class_name": "Adam", "config": {}, "registered_name": None}
OURS = {"module": "training.network", "class_name": "_Curve", "config": {}, "registered_name": "_Curve"}
SCRIPT = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Mine"}
FUNCTION = {"module": "builtins", "class_name": "function", "config": "my_loss", "registered_name": "function"}
MSE = {**FUNCTION, "config": "mean_squared_error"}
LAMBDA = {"class_name": "__lambda__", "config": {"value": ["code"]}}


def written(path, *layers, compiled=None):
    """A `.keras` file of a model with these layers."""
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}}
    config = {**config, "registered_name": None, "compile_config": compiled}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", bytes(range(256)) * 5000)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_keras_own_names_stay(tmp_path):
    """A model compiled with Keras's own optimizer, loss and metrics passes, and nothing is rewritten."""
    file = written(tmp_path / "a", LAYER, compiled={"optimizer": ADAM, "loss": MSE, "metrics": ["mae", MSE]})
    portable.check(file)
    assert portable.strip(file, tmp_path / "b") == ()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("strange", "named"),
    [
        (OURS, "training.network._Curve"),
        (SCRIPT, "Mine"),
        (FUNCTION, "my_loss"),
        ({**FUNCTION, "config": {}}, "{}"),
        (LAMBDA, "a lambda"),
    ],
)
def test_what_a_model_was_compiled_with_is_left_out(tmp_path, strange, named):
    """A foreign metric, loss or lambda is refused by name; without it the file passes, all else byte for byte."""
    file = written(tmp_path / "a", LAYER, compiled={"optimizer": ADAM, "loss": "mse", "metrics": [[strange]]})
    with pytest.raises(ArtifactRefusedError, match=named):
        portable.check(file)
    assert portable.strip(file, tmp_path / "b") == (named,)
    portable.check(tmp_path / "b")
    before, after = members(file), members(tmp_path / "b")
    assert list(after) == list(before)
    config = json.loads(before.pop("config.json"))
    del config["compile_config"]
    assert json.loads(after.pop("config.json")) == config
    assert after == before


def test_models_within_a_model_are_looked_into(tmp_path):
    """A model inside another may have been compiled too; only what names something foreign is left out."""
    inner = {"module": "keras", "class_name": "Functional", "config": {"layers": [LAYER]}, "registered_name": None}
    file = written(tmp_path / "a", {**inner, "compile_config": {"loss": FUNCTION}}, compiled={"optimizer": ADAM})
    assert portable.strip(file, tmp_path / "b") == ("my_loss",)
    config = json.loads(members(tmp_path / "b")["config.json"])
    assert config["compile_config"] == {"optimizer": ADAM}
    assert config["config"]["layers"] == [inner]


@pytest.mark.parametrize("strange", [{**LAYER, "module": "mine.layers"}, {**LAYER, "config": {"activation": FUNCTION}}])
def test_foreign_layers_are_refused(tmp_path, strange):
    """What a prediction needs cannot be left out: a foreign layer or activation stays refused."""
    file = written(tmp_path / "a", strange)
    assert portable.strip(file, tmp_path / "b") == ()
    with pytest.raises(ArtifactRefusedError, match="which Keras does not have"):
        portable.check(file)


def test_damaged_files_are_said_to_be(tmp_path):
    """What is no `.keras` file, or has a damaged or huge config, is one typed error."""
    (tmp_path / "text").write_bytes(b"network")
    for name, config in (("deep", "[" * 100_000), ("huge", " " * (portable.LARGEST_CONFIG + 1)), ("none", None)):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("other", "")
            if config is not None:
                archive.writestr("config.json", config)
    for file in (tmp_path / name for name in ("text", "deep", "huge", "none")):
        with pytest.raises(ArtifactCorruptError):
            portable.check(file)
        with pytest.raises(ArtifactCorruptError):
            portable.strip(file, tmp_path / "into")


def test_the_functions_are_those_of_keras():
    """The functions that may be named without a module are those that this Keras finds by name."""
    import keras

    helpers = {"get", "serialize", "deserialize"}
    known = {
        function.__name__
        for module in (keras.activations, keras.losses, keras.metrics)
        for name, function in vars(module).items()
        if isinstance(function, types.FunctionType) and name not in helpers
    }
    assert known <= portable.FUNCTIONS
