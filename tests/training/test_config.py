"""The file of options: what it may say, and the one line that each mistake gets."""

import pytest

from service.errors import InvalidArgumentError
from training import config
from training.options import Options, Source


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
        ({"data": "a.npz", "window": 7}, "window: makes no sense with an .npz file, whose arrays x and y say it"),
        ({"data": "a.npz", "horizon": 3}, "horizon: makes no sense with an .npz file, whose arrays x and y say it"),
        ({"residual": True}, "residual: makes sense only with --data"),
        ({"data": "a.csv", "dense-units": 3}, "dense-units: with --data the target decides that"),
        ({"data": "a.csv", "network": "rnn"}, "network: expected simple-rnn, gru, lstm; got 'rnn'"),
        ({"data": "a.csv", "test": 0.6, "validation": 0.5}, "validation: together with test it takes all data"),
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
