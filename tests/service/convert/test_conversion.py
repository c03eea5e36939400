"""Files of other kinds become `.keras` files that compute what Keras 2 computed, in our network and in Keras 3."""

import json
import zipfile

import h5py
import numpy as np
import pytest

from service.convert import rules
from service.convert.conversion import convert, converts
from service.convert.writer import origin
from service.errors import CorruptModelError, InvalidArgumentError, ModelError, UnsupportedModelError
from service.model import keras_file
from tests.service.convert.keras2 import FILES, FOLDER, error, numbers, outputs

BOUND = 3e-7  # the largest difference from Keras 2 in single precision, 1.5e-7, twice
SAME = {"architecture.h5", "architecture.weights.h5", "archive.keras", "backslash.keras"}  # networks as another
NOT_ALONE = {  # rules whose absence another rule or our own reader makes up for; Keras 3 would not
    "code_is_refused",
    "what_cannot_be_said_is_refused",
    "spatial_dropout_has_less",
    "dtype_is_a_name",
    "what_is_for_training_is_dropped",
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Every file, converted: the target and what came of it, by name."""
    folder = tmp_path_factory.mktemp("converted")
    return {
        name: (folder / f"{name}.keras", convert(sources, folder / f"{name}.keras"))
        for name, (sources, _) in FILES.items()
    }


@pytest.mark.parametrize("name", FILES)
def test_a_converted_file_computes_what_keras_2_computed(converted, name):
    """Each file of Keras 2 gives Keras 2's own numbers, and says what it was and what was rewritten."""
    path, made = converted[name]
    assert error(made.network, name) <= BOUND
    assert made.origin.startswith("Keras 2.")
    assert origin(path) == (made.origin, list(made.notes))


def test_keras_3_opens_every_converted_file(converted):
    """Keras 3 loads each of them in its safe mode, and computes what Keras 2 did."""
    import keras

    for name in FILES.keys() - SAME:
        path, _ = converted[name]
        model = keras.saving.load_model(path, compile=False)
        given = numbers(name, "x")
        found = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
        for actual, expected in zip(found, numbers(name, "y"), strict=True):
            np.testing.assert_allclose(actual, expected, atol=2e-6, err_msg=name)


def test_the_weights_are_as_they_were_trained(converted):
    """The gates of a hard_sigmoid keep their weights, to the bit: what changes is how the activation is written."""
    _, made = converted["lstm.h5"]
    with h5py.File(FOLDER / "lstm.h5") as file:
        group = file["model_weights/lstm"]
        saved = [group[name][()] for name in group.attrs["weight_names"]]
    kept = [made.network.weights[f"lstm/{part}"] for part in ("kernel", "recurrent_kernel", "bias")]
    assert all(np.array_equal(a, b) for a, b in zip(saved, kept, strict=True))


@pytest.mark.parametrize(
    "rule", [rule for rule in rules.RULES if rule.__name__ not in NOT_ALONE], ids=lambda r: r.__name__
)
def test_no_rule_is_idle(monkeypatch, tmp_path, rule):
    """Without any one of the rules a file is refused, or computes other numbers than Keras 2."""
    monkeypatch.setattr(rules, "RULES", tuple(other for other in rules.RULES if other is not rule))

    def wrong(name):
        try:
            return error(convert(FILES[name][0], tmp_path / "m.keras").network, name) > BOUND
        except (ModelError, KeyError, ValueError):
            return True

    assert any(wrong(name) for name in FILES)


def test_a_file_of_keras_3_is_kept_as_it_is(tmp_path):
    """An `.h5` file of Keras 3 computes what Keras 3 computes, its hard_sigmoid included; so does JSON with weights."""
    import keras
    from keras import layers

    x = keras.Input((5, 2), name="x")
    y = layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    y = keras.Sequential([layers.Dense(3, activation="relu"), layers.BatchNormalization()], name="inner")(y)
    model = keras.Model(x, layers.Dense(1)(layers.GRU(2)(layers.Dropout(0.5)(y))))
    given = numbers("lstm.h5", "x")[0]
    expected = np.asarray(model(given))
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(json.dumps(model.to_json()))  # a text in a text, as people write it
    for sources in (["m.h5"], ["m.json", "m.weights.h5"], ["m.json", "m.h5"]):
        made = convert([tmp_path / name for name in sources], tmp_path / "new.keras")
        (found,) = made.network.forward({"x": given}).outputs.values()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert made.notes == ()
        assert made.origin.startswith("Keras 3")


def test_the_same_file_gives_the_same_bytes(tmp_path):
    """A conversion depends on nothing but the file."""
    for name in "ab":
        convert([FOLDER / "lstm.h5"], tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_what_is_converted_before_it_is_registered(converted, tmp_path):
    """H5 files and `.keras` files of Keras 2, by what is in them and not by their names; nothing else."""
    assert converts(FOLDER / "lstm.h5")
    assert converts(FOLDER / "first.keras")
    assert not converts(converted["lstm.h5"][0])
    (tmp_path / "text.h5").write_text("text")
    assert not converts(tmp_path / "text.h5")
    with pytest.raises(UnsupportedModelError, match="is a folder"):
        converts(tmp_path)


def changed(tmp_path, change, name="lstm.h5"):
    """A copy of a file with its config changed."""
    path = tmp_path / name
    path.write_bytes((FOLDER / name).read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)
    return path


def first(**config):
    """A change that puts an InputLayer in front."""
    layer = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 5, 2], **config}}
    return lambda whole: whole["config"].insert(0, layer)


def other(**config):
    """A change that puts another config in place of the whole."""
    return lambda _: config


def add(**layer):
    """A change that puts a layer behind the others."""
    return lambda config: config["config"].append({"config": {"name": "added"}, **layer})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add(class_name="Lambda", config={"name": "f", "function": ["4wE"]}), r"layer f \(Lambda\): it is Python code"),
        (
            add(class_name="TFOpLambda", config={"name": "tf.math.abs", "function": "math.abs"}),
            r"TensorFlow's function math.abs, .* keras.ops",
        ),
        (add(class_name="Custom>Mine"), "it is a custom class, whose code is not in the file"),
        (add(class_name="Mine"), r"layer added \(Mine\): the class is not supported"),
        (lambda c: c["config"][0]["config"].update(time_major=True), "time_major=True is not supported: make it with"),
        (first(ragged=True),
            "ragged=True is not supported: pad its sequences",
        ),
        (first(sparse=True),
            "sparse=True is not supported: give it dense arrays",
        ),
        (lambda c: c["config"][0]["config"].pop("batch_input_shape") and None, "does not say the shape of its input"),
        (other(class_name="Mine", config={"layers": []}), "the model is a Mine; expected Sequential or"),
        (lambda c: c["config"][0]["config"].update(activation="mine"), "activation=mine is not supported"),
        (lambda c: c["config"][1]["config"].update(units=3), "lstm_1.*has .* of shape"),
        (lambda c: c["config"].pop() and None, None),
        (lambda c: c["config"].clear(), "does not say the shape"),
        (other(class_name="Model", config={"layers": [], "input_layers": 3}), "does not name"),
    ],
)  # fmt: skip
def test_refusals_name_what_it_is_and_what_would_help(tmp_path, change, said):
    """What has no equal in Keras 3 is refused by name, with advice that can be followed; nothing is written."""
    path = changed(tmp_path, change)
    if said is None:  # a layer less: its weights are not asked for
        convert([path], tmp_path / "m.keras")
        return
    with pytest.raises(ModelError, match=said) as error:
        convert([path], tmp_path / "m.keras")
    assert "safe_mode" not in error.value.message
    assert "--engine" not in error.value.message
    assert not (tmp_path / "m.keras").exists()


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        (["architecture.json"], InvalidArgumentError, "an architecture without weights: give its file of weights too"),
        (["architecture.h5"], UnsupportedModelError, "weights and no model_config: give the architecture too"),
        (["architecture.json", "lstm.h5"], CorruptModelError, "the file has no weights of layer"),
        (["lstm.h5", "gru.h5"], InvalidArgumentError, "expected one .h5 or .keras file, or a .json file and its"),
        (["numbers.npz"], UnsupportedModelError, "saved by Keras|has a member that no supported model has"),
        (["README.md"], CorruptModelError, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, files, kind, said):
    """Weights without an architecture, one of another model, and files of other kinds: each with what is missing."""
    with pytest.raises(kind, match=said):
        convert([FOLDER / name for name in files], tmp_path / "m.keras")


def test_keras_1_is_refused_by_name(tmp_path):
    """A file of Keras 1 says who could read it."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "lstm.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "1.2.2"
    with pytest.raises(UnsupportedModelError, match=r"saved by Keras 1.2.2; expected 2 or 3: Keras 2.0 opens it"):
        convert([path], tmp_path / "m.keras")


def test_a_file_of_keras_3_needs_no_conversion(converted, tmp_path):
    """A `.keras` file of Keras 3 is served as it is, and that is said."""
    with pytest.raises(UnsupportedModelError, match="is served as it is"):
        convert([converted["lstm.h5"][0]], tmp_path / "m.keras")


def test_weights_of_another_precision(tmp_path):
    """Weights in double precision go into the layers that the config has, as Keras 2 loads them."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "lstm.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        for name in ("lstm", "lstm_1"):
            group = file[f"model_weights/{name}"]
            for weight in group.attrs["weight_names"]:
                values = group[weight][()]
                del group[weight]
                group[weight] = values.astype(np.float64)
    made = convert([path], tmp_path / "m.keras")
    assert error(made.network, "lstm.h5") <= BOUND


def test_a_converted_file_is_a_plain_file(converted):
    """It holds what a `.keras` file of Keras 3 holds, and is read again by the reader that serves."""
    path, made = converted["graph.h5"]
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")
    again = outputs(keras_file.read(path), "graph.h5")
    assert all(np.array_equal(a, b) for a, b in zip(again, outputs(made.network, "graph.h5"), strict=True))
