"""service.api.classes: the classes of a prediction over the wire, by our own client."""

import dataclasses

import numpy as np
import pytest

from service.client import ClassScore
from service.errors import InvalidArgumentError
from service.model import classes
from service.serving.loaded import MODEL_FILE
from service.snapshot import VersionEntry
from tests.service.support import R3_INPUTS, entry, serving
from training.data.layout import Layout

LABELS = ("walk", "run", "rest")


def record(labels):
    """What a version keeps that was registered with labels alone."""
    return Layout((), "", 0, 0, labels).dumps()


@pytest.fixture(scope="module")
def client(versions, tmp_path_factory):
    """A server of a network that tells classes apart at each timestep and at the end, with labels and without."""
    from keras import Input, Model, layers, utils

    utils.set_random_seed(3)
    x = Input((None, 2), name="x")
    sequence = layers.GRU(4, return_sequences=True, name="gru")(x)
    each = layers.Dense(3, activation="softmax", name="each")(sequence)
    folder = tmp_path_factory.mktemp("classifier")
    outputs = [each, layers.GRU(3, activation="softmax", name="last")(sequence), layers.GRU(2, name="other")(sequence)]
    Model(x, outputs).save(folder / MODEL_FILE)
    plain = VersionEntry("0", "classifier", str(folder), engines=("numpy", "numpy"))
    labelled = dataclasses.replace(plain, data=record(LABELS))
    foreign = dataclasses.replace(plain, data='{"classes": ["one", 2]}')
    activities = entry("activities", "a", v1=labelled, v2=plain, v3=foreign)
    numbers = dataclasses.replace(versions["r3-1"], data=record(("level",)))
    with serving(activities, entry("numbers", "a", v1=numbers)) as (_, client):
        yield client


def test_classes_of_a_prediction(client):
    """Each output that the labels fit has its classes, the most probable first, for each sequence and timestep."""
    found = client.predict(R3_INPUTS, model="activities", top_classes=2)
    assert {name: array.shape for name, array in found.classes.items()} == {"each": (3, 3, 2), "last": (3, 2)}
    for name, array in found.classes.items():
        for place in np.ndindex(array.shape[:-1]):
            scores = found.outputs[name][place]
            best = np.argsort(-scores, kind="stable")[:2]
            assert list(array[place]) == [ClassScore(LABELS[i], i, float(scores[i])) for i in best]
    assert client.predict(R3_INPUTS, model="activities").classes == {}


def test_a_version_without_labels(client):
    """Without labels, or with a record that makes no sense, every output has its classes by their indices."""
    for version in ("2", "3"):
        found = client.predict(R3_INPUTS, model="activities", version=version, top_classes=1)
        assert {name: array.shape for name, array in found.classes.items()} == {
            "each": (3, 3, 1), "last": (3, 1), "other": (3, 1)
        }  # fmt: skip
        assert {one.label for one in found.classes["last"].flat} == {""}
        assert [one.index for one in found.classes["last"][:, 0]] == found.outputs["last"].argmax(-1).tolist()


def test_a_request_that_repeats(client):
    """Requests that differ in this field alone have different answers, however often either was asked."""
    one = R3_INPUTS[:1]
    for _ in range(3):
        assert client.predict(one, model="numbers").classes == {}
        ((only,),) = client.predict(one, model="numbers", top_classes=1).classes["output"]
        assert (only.label, only.index) == ("level", 0)


@pytest.mark.parametrize(
    ("model", "count", "said"),
    [
        ("activities", -1, "expected 0 or more, got -1"),
        ("activities", 4, "output each has 3 classes, got 4"),
        ("numbers", 2, "output output has 1 classes, got 2"),
    ],
)
def test_numbers_of_classes_that_there_are_not(client, model, count, said):
    """A negative number, and more classes than an output has, are refused by the name of the field."""
    with pytest.raises(InvalidArgumentError, match=f"top_classes: {said}") as refused:
        client.predict(R3_INPUTS, model=model, top_classes=count)
    assert refused.value.field == "top_classes"


def test_an_answer_is_bounded(client, monkeypatch):
    """More classes than one answer may hold are refused."""
    monkeypatch.setattr(classes, "MOST_CLASSES", 17)
    with pytest.raises(Exception, match="top_classes: 18 classes in one output, the limit is 17"):
        client.predict(R3_INPUTS, model="activities", top_classes=2)


def test_labels_are_shown(client):
    """GetModel and GetExamples show the labels of a version, and nothing else that it does not know."""
    (version,) = (v for v in client.model("activities").versions if v.version == "1")
    assert tuple(version.data.classes) == LABELS
    assert (list(version.data.features), version.data.target, version.data.window) == ([], "", 0)
    found = client.examples(model="activities", version="1")
    assert (found.classes, found.columns, found.target) == (LABELS, (), None)
