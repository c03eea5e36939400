"""Versions made by Keras once for all tests of the service."""

import pytest

from service.config import EDGES
from service.model import keras_file, proof
from service.serving.loaded import MODEL_FILE, PROOF_FILE
from service.snapshot import VersionEntry
from tests.certificates import Authority
from tests.data.hostile import build
from tests.fuzz import targets
from tests.service.support import R2_INPUTS, R3_INPUTS, TEXTS, WORDS, Registry, edges, keep, r2, r3


@pytest.fixture(scope="module", params=EDGES)
def edge(request):
    """Has a module's servers answer on each edge in turn: what holds for callers holds on both."""
    edges.append(request.param)
    yield request.param
    edges.pop()


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """Versions by name, made once: three reference networks, and the linear one.

    Their engines are those usually chosen: tests that compare bits are not to depend on what is quicker just now.
    """
    root = tmp_path_factory.mktemp("versions")
    made = {f"r3-{seed}": (r3(seed), R3_INPUTS) for seed in (1, 2, 3)} | {"r2": (r2(), R2_INPUTS)}
    return {
        name: VersionEntry("0", keep(model, root / name, inputs), str(root / name), engines=("scalar", "numpy"))
        for name, (model, inputs) in made.items()
    }


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A version of a network from one text to two numbers, made without Keras."""
    folder = tmp_path_factory.mktemp("texts")
    config = build.functional(
        targets.called(
            build.layer(
                "TextVectorization", "words", vocabulary=WORDS, output_sequence_length=4,
                standardize="lower_and_strip_punctuation", split="whitespace",
            ),
            targets.tensor("x"),
        ),
        targets.called(build.layer("Embedding", "e", input_dim=6, output_dim=3), targets.tensor("words")),
        targets.called(build.layer("GRU", "y", units=2), targets.tensor("e")),
    )  # fmt: skip
    config["config"]["layers"][0]["config"] |= {"batch_shape": [None, 1], "dtype": "string"}
    build.write(folder / MODEL_FILE, config, targets.fitting_weights(config))
    result = keras_file.read(folder / MODEL_FILE).forward({"x": TEXTS})
    proof.Proof({"x": TEXTS}, result.outputs, result.final_state, "unroll").save(folder / PROOF_FILE)
    return VersionEntry("1", f"{1:064}", str(folder), engines=("numpy", "numpy"))


@pytest.fixture(scope="module")
def registry(versions, tmp_path_factory):
    """A local registry, empty."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("registry")
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield Registry(f"sqlite:///{folder}/mlflow.db", versions)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority, and a server's and a client's certificate signed by it."""
    return Authority(tmp_path_factory.mktemp("certificates")).sign("server").sign("alice").folder
