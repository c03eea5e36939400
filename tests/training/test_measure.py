"""The measure: errors, baselines from the past alone, and the decision about the alias."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from training import config, data, measure
from training.options import Options, Registration, Source
from training.windows import Parts, Windows


def windows(starts, *, outputs=2, window=3, count=24):
    """Windows over the numbers from 0 on."""
    values = np.arange(count, dtype=np.float32)
    starts = np.array(starts)
    segments = (np.arange(count) >= 12).astype(np.int32)
    return Windows(values[:, None], values, starts, starts + window, window, outputs, 1, segments)


def examples(train, test, classes=()):
    """Examples of these windows."""
    layout = data.Layout(("y",), "y", train.window, train.outputs, classes)
    return data.Examples("n", None, "", layout, Parts(train, test, test), ())


def test_errors_of_numbers_and_classes():
    """Root mean square and mean absolute error; share of wrong classes and log loss."""
    found = measure.errors(np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [5.0]]), 0)
    assert found == {"rmse": pytest.approx(np.sqrt(4.5)), "mae": 1.5}
    probabilities = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    found = measure.errors(probabilities, np.array([[0], [1]]), 2)
    assert found == {"error_rate": 0.5, "log_loss": pytest.approx(-(np.log(0.8) + np.log(0.1)) / 2)}


def test_baselines_know_the_past_only():
    """Where numbers rise by one, the last value is wrong by the steps ahead, the season by its length."""
    made = examples(windows(range(3)), windows([4, 5]))
    assert measure.baselines(made, 0)["last value"]["mae"] == 1.5
    assert measure.baselines(made, 0)["mean"]["mae"] == pytest.approx(np.mean([[3.0, 3.0], [4.0, 4.0]]))
    assert measure.baselines(made, 4)["seasonal"]["mae"] == 4
    assert measure.baselines(made, 1)["seasonal"]["mae"] == 1.5  # the last known one is two back of the second
    young = examples(windows(range(3)), windows([12]))  # the other series has begun just now
    assert measure.baselines(young, 5)["seasonal"]["mae"] == 1.5


def test_windows_of_another_length_keep_their_targets():
    """A champion with longer windows is asked for the same targets, where there are rows enough of that series."""
    longer, fits = windows([0, 4, 12, 14]).reaching_back(5)
    assert fits.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(longer.expected(), windows([4, 14]).expected())
    np.testing.assert_array_equal(longer.inputs()[0, :, 0], [2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("champion", "options", "promoted"),
    [
        (None, {}, True),
        (None, {"promote": "never"}, False),
        ((2.0, 1.9), {}, True),
        ((2.0, 2.0), {}, False),
        ((2.0, 2.1), {}, False),
        ((2.0, 2.1), {"promote": "always"}, True),
        ((2.0, 1.9), {"min_improvement": 0.1}, False),
        ((2.0, 1.7), {"min_improvement": 0.1}, True),
        ((0.0, 0.0), {}, False),
        ((None, None), {}, False),
    ],
)
def test_the_decision(champion, options, promoted):
    """The alias moves for a smaller error, smaller by enough, and where there is nobody to beat."""
    found = measure.Champion("7", *champion, "it is other") if champion else None
    decision = measure.decide(found, Registration(**options))
    assert decision.promoted is promoted
    assert decision.reason


# The file of options.


def test_a_job_and_its_document_are_the_same(tmp_path):
    """What a job was asked for, written to a file and read again, is the same job."""
    asked = {"data": str(tmp_path / "d.csv"), "target": "y", "window": 5, "units": [8, 4], "features": "a, b"}
    job = config.job_of(asked)
    assert job.source.features == ("a", "b")
    assert (job.options.units, job.options.patience, job.registration.name) == ((8, 4), 20, "d")
    job.dump(tmp_path / "job.yaml")
    assert config.job_of(config.load(tmp_path / "job.yaml")) == job
    reference = config.job_of({"epochs": 3})
    assert (reference.options, reference.source) == (Options(epochs=3), Source())
    assert config.job_of(reference.document()) == reference


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"epochs": "many"}, "epochs: expected a whole number, got 'many'"),
        ({"epochs": 2.5}, "epochs: expected a whole number, got 2.5"),
        ({"epochs": True}, "epochs: expected a whole number, got True"),
        ({"bidirectional": "yes"}, "bidirectional: expected true or false, got 'yes'"),
        ({"name": None}, "name: expected text, got None"),
        ({"units": [[4]]}, "units: expected a whole number, got [4]"),
        ({"learning_rate": 1}, "config: there is no option 'learning_rate'; did you mean 'learning-rate'?"),
        ({"target": "y"}, "target: makes sense only with --data"),
        ({"residual": True}, "residual: makes sense only with --data"),
        ({"data": "a.csv", "dense-units": 3}, "dense-units: with --data the target decides that"),
        ({"data": "a.csv", "network": "rnn"}, "network: expected simple-rnn, gru, lstm; got 'rnn'"),
        ({"data": "a.csv", "test": 0.6, "validation": 0.5}, "validation: with test it takes everything"),
        ({"data": "a.csv", "min-improvement": 1}, "min_improvement: expected 0 or more and less than 1, got 1"),
    ],
)
def test_options_that_make_no_sense_are_named(document, message):
    """A value of another type, a misspelt option, and options that do not go together are one line."""
    with pytest.raises(InvalidArgumentError) as caught:
        config.job_of(document)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("content", ["- a\n", "a: [\n", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    """A file that is not YAML, or no mapping, is named."""
    (tmp_path / "job.yaml").write_text(content)
    with pytest.raises(InvalidArgumentError, match=r"^config: job\.yaml "):
        config.load(tmp_path / "job.yaml")
