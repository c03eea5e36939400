"""`check` says whether a file can be served, with every reason, and `supported` lists what can."""

from service.model import supported
from service.model.check import check
from service.model.layers import LAYERS
from tests.data.hostile import build


def test_a_good_file_is_supported_and_timed(tmp_path):
    """A file that can be served has no reasons, its parameter count, and the time of one prediction."""
    build.write(tmp_path / "m.keras")
    report = check(tmp_path / "m.keras")
    assert report.supported
    assert report.parameter_count == 33
    assert report.engine in {"scalar", "numpy"}  # whichever was quicker just now
    assert report.timesteps == 3
    assert report.microseconds > 0


def test_every_reason_is_told(tmp_path):
    """A file with several faults is told all of them: classes, options, operations, inside nested models too."""
    layer = build.layer
    config = build.functional(
        build.wired(layer("Lambda", "a", function={}), ("x", 0, 0)),
        build.wired(layer("LSTM", "b", units=0, cudnn=1, activation="evil"), ("a", 0, 0)),
        build.wired(
            layer("Sequential", "c", module="keras", layers=[layer("ConvLSTM2D", "d"), layer("Dense", "e", units=2)]),
            ("b", 0, 0),
        ),
        build.wired(layer("Cholesky", "f", module="keras.src.ops.linalg"), ("c", 0, 0)),
        build.wired(layer("MyLayer", "y", module="mine"), ("f", 0, 0)),
    )
    build.write(tmp_path / "m.keras", config)
    report = check(tmp_path / "m.keras")
    assert not report.supported
    assert not report.through_keras  # there is code among it
    text = "\n".join(report.reasons)
    layers = ("a (Lambda)", "c/d (ConvLSTM2D)", "f (Cholesky)", "y (MyLayer)")
    for part in (*layers, "units=0", "cudnn", "activation=evil"):
        assert part in text
    assert len(set(report.reasons)) == len(report.reasons)


def test_a_model_of_a_class_of_its_own_is_told_once(tmp_path):
    """A subclassed model is named by its class, and its config, which may hold anything, is not looked at."""
    config = {"module": None, "class_name": "Detector", "config": {"units": 3}, "registered_name": "Detector"}
    build.write(tmp_path / "m.keras", config)
    assert check(tmp_path / "m.keras").reasons == ("the model is a Detector; expected Sequential or Functional",)


def test_hostile_files_are_reported_not_raised(tmp_path):
    """Every hostile file has a report with a reason."""
    for path in build.build_all(tmp_path).values():
        assert not check(path).supported, path.name


def test_keras_is_named_only_where_it_may_help(tmp_path):
    """A file with a layer that is not supported may be for Keras; one that is damaged, or no such file, is not."""
    paths = build.build_all(tmp_path)
    assert check(paths["tfsm_layer"]).through_keras
    for name in ("empty", "pickle", "weight_nan", "graph_in_a_circle"):
        assert not check(paths[name]).through_keras


def test_the_list_names_every_layer_once():
    """The list has each layer of the table once, with its options, and the tables of everything else."""
    listed = supported.layers()
    assert [layer.name for layer in listed] == list(LAYERS)
    assert all(layer.summary for layer in listed)
    told = {layer.name: [option.name for option in layer.options] for layer in listed}
    assert told["Dense"] == ["units", "activation", "use_bias"]
    text = supported.markdown()
    for name in (*LAYERS, "mixed_float16", "hard_swish", "GRUCell", "LogicalOr"):
        assert f"`{name}`" in text
