"""Networks of characters with random weights, as files."""

from service.model import keras_file
from tests.data.hostile import build
from tests.fuzz import targets

INPUT, OUTPUT = "text", "output"


def write(path, *, words=("a", "b", "c"), units=4, backwards=False, numbers=False, whole=False):
    """A file of a network that answers after each character with the probabilities of the next one, or not quite so."""
    lookup = build.layer("StringLookup", "lookup", vocabulary=list(words))
    if whole:
        options = {"output_sequence_length": 4, "standardize": None, "split": "character"}
        lookup = build.layer("TextVectorization", "lookup", vocabulary=list(words), **options)
    layers = [
        *([] if numbers else [lookup]),
        build.layer("Embedding", "embedding", input_dim=5, output_dim=3),
        build.layer("GRU", "rnn", units=5, return_sequences=True, go_backwards=backwards),
        build.layer("Dense", OUTPUT, units=units, activation="softmax"),
    ]
    before, calls = INPUT, []
    for layer in layers:
        calls.append(targets.called(layer, targets.tensor(before)))
        before = layer["config"]["name"]
    config = build.functional(*calls, inputs=[[INPUT, 0, 0]], outputs=[[OUTPUT, 0, 0]])
    kind, shape = "int32" if numbers else "string", [None, 1] if whole else [None, None]
    given = build.layer("InputLayer", INPUT, batch_shape=shape, dtype=kind)
    config["config"]["layers"][0] = {**given, "name": INPUT, "inbound_nodes": []}
    build.write(path, config, targets.fitting_weights(config))


def characters(folder, **options):
    """Such a network, read."""
    write(folder / "model.keras", **options)
    return keras_file.read(folder / "model.keras")
