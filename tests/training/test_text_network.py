"""Networks of texts, trained by a job on a real registry: what is registered takes strings, as its proof says."""

import subprocess
import sys

import numpy as np
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.references import parse
from registry.store import Store
from service.cli import app
from service.errors import InvalidArgumentError, NotReadyError
from service.model import keras_file
from service.model import proof as proofs
from service.model.generation import Sampling, writer_of
from tests.training import texts
from training import config, forecasting, job, scoring
from training.data.layout import Layout
from training.evaluation.errors import errors, predict
from training.options import Source

QUICK = {"units": 6, "embedding": 4, "learning-rate": 0.02}
BOOK = {"units": 16, "embedding": 8, "learning-rate": 0.02, "batch-size": 4, "epochs": 12}


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """Where texts and checkpoints lie."""
    folder = tmp_path_factory.mktemp("texts")
    texts.write(folder / "reviews.csv")
    (folder / "book.txt").write_text(texts.BOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLL_CHECKPOINTS", str(folder / "checkpoints"))
        yield folder


def reviews(folder, **options):
    """A job on the reviews."""
    document = {
        "data": str(folder / "reviews.csv"),
        "text": "review",
        "target": "label",
        "batch-size": 16,
        "epochs": 15,
        **QUICK,
    }
    return config.job_of(document | options)


def book(folder, **options):
    """A job on the book."""
    return config.job_of({"data": str(folder / "book.txt"), "window": 40, **BOOK, **options})


@pytest.fixture(scope="module")
def first(folder):
    """The first version of a network of reviews: what the job gave."""
    return job.run(reviews(folder), job.Listener())


@pytest.fixture(scope="module")
def writer(folder):
    """The first version of a network of characters."""
    return job.run(book(folder), job.Listener())


def served(outcome, tmp_path):
    """The network of a version, with its proof replayed."""
    version = Store().version(outcome.name, outcome.version)
    path, _ = Cache(tmp_path).fetch(Store(), version)
    network = keras_file.read(path / MODEL_FILE)
    assert 0 <= proofs.replay(network, proofs.load(path / PROOF_FILE)) <= 1
    return network, Layout.loads(version.tags[tag.DATA])


def test_a_network_of_texts_takes_strings_and_knows_its_labels(first, tmp_path):
    """The version's file alone tells good from bad reviews, words that it never saw included."""
    network, layout = served(first, tmp_path)
    assert (layout.classes, layout.text, layout.unit) == (("bad", "good"), "review", "word")
    given = np.array(
        [["An EXCELLENT film, unlike the meal on day 999!"], ["a dull film unlike the zzyzx on day 7"], [""]], object
    )
    found = network.forward({"text": given}).outputs["output"]
    assert [layout.classes[place] for place in found.argmax(axis=1)][:2] == ["good", "bad"]
    assert first.measured.network["error_rate"] < 0.2
    assert set(first.measured.baselines) == {"most frequent", "bag of words"}


def test_the_vocabulary_is_that_of_the_part_to_train_on(first, tmp_path):
    """Words that only texts held out have are unknown to the network."""
    network, _ = served(first, tmp_path)
    parts = {name: " ".join(part.inputs()[:, 0]) for name, part in first.examples.parts.named().items()}
    known = set(network.words["text"][0]) | set(network.graph.layers["vocabulary"].layer.tokens())
    assert {"excellent", "awful", "the"} <= known
    days = {word.strip(".") for word in parts["test"].split() if word.strip(".").isdigit()}
    assert days
    assert not days & known


def test_the_gate_compares_networks_of_texts(first, folder, tmp_path):
    """A challenger that reads characters is judged on the same texts as a champion that reads words."""
    Store().set_alias("reviews", "champion", first.version)
    asked = {"text-unit": "char", "vocabulary": 12, "window": 20, "epochs": 0, "bidirectional": True, "dropout": 0.1}
    outcome = job.run(reviews(folder, **asked), job.Listener())
    assert outcome.alias == "challenger"
    assert outcome.champion.error == first.measured.network["error_rate"]
    assert outcome.champion.challenger_error == outcome.measured.network["error_rate"]
    network, layout = served(outcome, tmp_path)
    assert (layout.unit, layout.window) == ("char", 20)
    trace = network.trace({"text": np.array([["A good day"]], object)}, layers={"vocabulary"})
    ids = trace.layers[0].tensors["output"]
    assert ids.shape == (1, 20)
    assert ids.max() < 12


def test_the_same_seed_gives_the_same_vocabulary_and_weights(first, network):
    """Two networks that are built from the same texts are the same."""
    from training import text_network

    built = [text_network.build(first.options, Source(text="review"), first.examples) for _ in range(2)]
    one, other = (model.get_layer(text_network.LOOKUP).get_vocabulary() for model in built)
    assert one == other
    weights = [network.weights(model) for model in built]
    assert all(np.array_equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_network_of_characters_predicts_the_next_one(writer, tmp_path):
    """It answers after each character, is fed piece by piece, and is better than the frequencies of pairs."""
    network, layout = served(writer, tmp_path)
    assert layout.next_character
    assert network.streamable
    assert network.inputs[0].shape == (None, None)
    given = np.array([list("4 men went")], object)
    whole = network.forward({"text": given}).outputs["output"]
    assert whole.shape == (1, 10, len(layout.classes))
    begun = network.forward({"text": given[:, :4]})
    rest = network.forward({"text": given[:, 4:]}, begun.final_state)
    assert np.array_equal(np.concatenate([begun.outputs["output"], rest.outputs["output"]], axis=1), whole)
    assert writer.measured.metric == "log_loss"
    assert writer.measured.network["log_loss"] < writer.measured.baselines["after the one before"]["log_loss"]
    assert (writer.alias, writer.decision.reason) == ("champion", "there is no champion yet")


def test_a_text_is_continued_from_the_registry(writer, folder):
    """`unroll generate` prints what the registered network writes; of a network that labels texts it says why not."""
    options = ["--prompt", "3 men went", "--temperature", "0.2", "--seed", "1", "--cache", str(folder / "cache")]
    done = CliRunner().invoke(
        app, ["generate", "--model", f"models:/book/{writer.version}", "--length", "40", *options]
    )
    assert done.exit_code == 0, done.output
    written = writer_of(writer.fitted.served).write(
        writer.fitted.served.forward, "3 men went", 40, Sampling(temperature=0.2, seed=1)
    )
    assert done.stdout == "3 men went" + "".join(character.text for character in written) + "\n"


def test_networks_of_characters_are_compared(writer, folder):
    """Another window and other units are judged on the same text."""
    outcome = job.run(book(folder, epochs=0, window=25), job.Listener())
    assert outcome.alias == "challenger"
    assert outcome.champion.version == writer.version
    assert outcome.champion.challenger_error > outcome.champion.error > 0


def test_every_row_of_a_table_gets_its_label(first, folder):
    """What `unroll score` writes is what the network gives for each text; rows without a text have no prediction."""
    rows = texts.reviews(30)
    lines = [f'{i},"{text}"' for i, (text, _) in enumerate(rows)] + ["30,"]
    (folder / "new.csv").write_text("\n".join(["id,review", *lines]) + "\n")
    model = scoring.load("models:/reviews/1", folder / "cache")
    done = scoring.score(model, folder / "new.csv", folder / "out.csv", lambda *_: None)
    assert (done.rows, done.predicted) == (31, 30)
    table = csv.read_csv(folder / "out.csv", convert_options=csv.ConvertOptions(strings_can_be_null=True))
    assert table.column_names == ["review", "prediction", "probability"]
    found = model.network.forward({"text": np.array([[text] for text, _ in rows], object)}).outputs["output"]
    labels = [first.examples.classes[place] for place in found.argmax(axis=1)]
    assert table["prediction"].to_pylist() == [*labels, None]
    np.testing.assert_allclose(table["probability"].to_pylist()[:30], found.max(axis=1), rtol=1e-5)


def test_scoring_texts_needs_no_tensorflow():
    """What scores texts imports neither TensorFlow nor Keras."""
    program = "import sys, training.text_scoring; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_probabilities_are_calibrated(first, tmp_path):
    """The temperature is a layer of the file, makes no label of the validation part less likely, and is recorded."""
    network, _ = served(first, tmp_path)
    temperature = first.measured.temperature
    assert network.graph.layers["temperature"].layer.options["scale"] == pytest.approx(1 / temperature)
    part = first.examples.parts.validation
    calibrated = predict(network, part).astype(np.float64)
    raised = calibrated**temperature
    before, after = (
        errors(found, part.expected(), 2)["log_loss"]
        for found in (raised / raised.sum(axis=1, keepdims=True), calibrated)
    )
    assert after <= before + 1e-6
    tags = Store().version(first.name, first.version).tags
    assert float(tags[tag.TEMPERATURE]) == pytest.approx(temperature, rel=1e-4)
    assert float(tags[tag.CALIBRATION_ERROR]) == pytest.approx(first.measured.network["calibration_error"], rel=1e-4)
    metrics = first.measured.as_metrics()
    assert metrics["temperature"] == temperature
    assert metrics["uncalibrated_calibration_error"] == float(first.measured.uncalibrated["calibration_error"])


def test_what_a_network_of_texts_cannot_do(first, writer, folder):
    """Forecasts and continuations of labelled texts, and labels by a network of characters, are refused in one line."""
    with pytest.raises(NotReadyError, match="its texts go into no StringLookup"):
        writer_of(first.fitted.served)
    layout = first.examples.layout
    with pytest.raises(InvalidArgumentError, match=r"^model: the version was trained on texts"):
        forecasting.forecast(lambda *_: None, layout, folder / "reviews.csv")
    model = scoring.load(f"models:/book/{writer.version}", folder / "cache")
    with pytest.raises(InvalidArgumentError, match="unroll generate continues one"):
        scoring.score(model, folder / "reviews.csv", folder / "o.csv", lambda *_: None)
    assert parse("models:/book@champion")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data": "a.csv", "embedding": 8}, "embedding: makes sense only with --text, or a .txt file"),
        ({"data": "a.csv", "text": "t", "horizon": 2}, "horizon: makes no sense with texts"),
        ({"data": "a.csv", "text": "t", "residual": True}, "residual: makes no sense with texts"),
        ({"data": "a.csv", "text": "t", "text-unit": "line"}, "text_unit: expected word, char; got 'line'"),
        ({"data": "a.csv", "text": "t", "vocabulary": 2}, "vocabulary: expected 3 to 200000, got 2"),
        ({"data": "a.txt", "target": "y"}, "target: makes no sense with a .txt file"),
        ({"text": "t"}, "text: makes sense only with --data"),
    ],
)
def test_options_that_do_not_go_together(document, message):
    """Options of texts without texts, and of tables with them, are refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        config.job_of(document)
    assert caught.value.message.startswith(message)
