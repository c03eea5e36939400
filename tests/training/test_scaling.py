"""training.scaling: the scales of inputs and outputs, of the part that is learned from."""

import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.options import Options, Source
from training.scaling import scaling_of


@pytest.fixture
def examples(tmp_path):
    """A table whose held-out rows are far away from the others."""
    y = [100 + x for x in numbers(70)] + [1e6] * 30
    path = write(tmp_path / "t.csv", t=range(100), y=y, x=numbers(100, seed=1))
    return load(Source(path, target=("y",), time="t", window=4))[0]


def test_scales_are_those_of_training_targets(examples):
    """Mean and deviation of the output are those of the targets that are learned from, held-out ones left out."""
    scaling, targets = scaling_of(Options(), examples), examples.parts.train.expected()
    assert scaling.offset == pytest.approx((targets.mean(),))
    assert scaling.scale == pytest.approx((targets.std(),), rel=1e-4)
    assert scaling.sample.max() < 200
    assert scaling.relative == ()


def test_differences(examples):
    """With `residual` the target is seen and predicted as its difference from the last timestep."""
    scaling = scaling_of(Options(residual=True), examples)
    assert scaling.relative == (examples.layout.features.index("y"),)
    assert abs(scaling.offset[0]) < 1
    assert scaling.sample[3::4, scaling.relative[0]].tolist() == [0] * (len(scaling.sample) // 4)


def test_a_residual_needs_its_target(tmp_path):
    """Without the target among the features there is no difference to predict."""
    path = write(tmp_path / "t.csv", y=numbers(90), x=numbers(90, seed=1))
    examples = load(Source(path, target=("y",), features=("x",), window=3))[0]
    with pytest.raises(InvalidArgumentError, match=r"^residual: "):
        scaling_of(Options(residual=True), examples)
