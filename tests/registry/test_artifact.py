"""A version's folder is read only where it is what MLflow writes of a Keras model; anything else is refused, unread."""

import os
import pickle
import zipfile

import pytest

from registry import artifact
from registry.errors import ArtifactCorruptError, ArtifactRefusedError

GOOD = [artifact.MLMODEL, artifact.KERAS_FILE, artifact.PROOF_FILE, "requirements.txt"]
# Each line ten times the one before: a few hundred bytes that would be written out as billions of elements.
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.fixture
def version(tmp_path):
    """A folder as MLflow's Keras flavor writes it; the network itself is never looked into here."""
    folder = tmp_path / "version"
    (folder / "data").mkdir(parents=True)
    (folder / artifact.KERAS_FILE).write_bytes(b"network")
    (folder / artifact.PROOF_FILE).write_bytes(b"proof")
    (folder / artifact.MLMODEL).write_text("flavors: {keras: {data: data}, python_function: {}}\n")
    return folder


def test_a_keras_version_is_accepted_by_its_names():
    """The files of a Keras model pass, whatever harmless files lie beside them."""
    artifact.check_files([*GOOD, "conda.yaml", "data/keras_module.txt", "pickle.md", "h5/readme"])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.pkl", "pickle"),
        ("data/custom_objects.cloudpickle", "pickle"),
        ("data/deep/down/model.pickle", "pickle"),
        ("model.joblib", "pickle"),
        ("data/model.pt", "pickle"),
        ("data/model.pth", "pickle"),
        ("data/model.h5", "H5"),
        ("weights.hdf5", "H5"),
        ("data/model/saved_model.pb", "SavedModel"),
        ("tf2model/saved_model.pb", "SavedModel"),
    ],
)
def test_what_is_never_read_is_refused_by_name(name, what):
    """A pickle, an H5 file or a SavedModel refuses the whole version, even beside a network that could be read."""
    for names in ([name], [*GOOD, name]):
        with pytest.raises(ArtifactRefusedError, match=what) as caught:
            artifact.check_files(names)
        assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("names", "unwrap", "found"),
    [
        (GOOD, False, ""),
        ([*GOOD, "data/global_custom_objects.cloudpickle"], False, artifact.KERAS_FILE),
        ([artifact.MLMODEL, "data/model.h5", "data/global_custom_objects.cloudpickle"], False, "data/model.h5"),
        ([artifact.MLMODEL, "python_model.pkl", "artifacts/net.keras"], True, "artifacts/net.keras"),
        ([artifact.MLMODEL, "python_model.pkl", "artifacts/net.h5"], True, "artifacts/net.h5"),
        ([artifact.MLMODEL, "python_model.pkl", "artifacts/net.keras"], False, "python_model.pkl, which is never run"),
        ([artifact.MLMODEL, "a/net.keras", "b/net.keras"], True, "holds 2 networks, a/net.keras, b/net.keras"),
        ([artifact.MLMODEL, "model.pkl"], True, "model.pkl is a pickle"),
        ([artifact.MLMODEL, "data/model/saved_model.pb"], True, "SavedModel.*unroll convert FOLDER new.keras"),
    ],
)
def test_what_of_a_version_is_registered_anew(names, unwrap, found):
    """An `.h5` file, or a network beside or inside code, by itself; a wrapper only where that is asked for."""
    if found in names or not found:
        assert artifact.to_repair(names, unwrap=unwrap) == found
    else:
        with pytest.raises(ArtifactRefusedError, match=found):
            artifact.to_repair(names, unwrap=unwrap)


def test_an_h5_version_is_refused_for_what_it_is():
    """Not for the pickle beside it, and with the command that converts it; a wrapper with the one that unwraps it."""
    with pytest.raises(ArtifactRefusedError, match=r"H5 format.*--repair models:/NAME/VERSION converts it"):
        artifact.check_files([artifact.MLMODEL, "data/model.h5", "data/global_custom_objects.cloudpickle"])
    with pytest.raises(ArtifactRefusedError, match=r"is a pickle.*--unwrap registers artifacts/net.keras alone"):
        artifact.check_files([artifact.MLMODEL, "python_model.pkl", "artifacts/net.keras"])


def written_by(path, metadata):
    """A zip with that as its metadata.json; None: without one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        if metadata is not None:
            archive.writestr("metadata.json", metadata)
    return path


def test_the_version_of_keras_is_read(tmp_path):
    """The version that the file names, a candidate's too."""
    for version in ("3.15.0", "3.0.0rc1", "3.12.0.dev2025"):
        assert artifact.keras_version(written_by(tmp_path / "m", f'{{"keras_version": "{version}"}}')) == version


@pytest.mark.parametrize(
    "metadata",
    [
        None, "", "[]", "{}", '{"keras_version": null}', '{"keras_version": 3}', b"\xff", "[" * 60_000,
        '{"keras_version": "3.15.0\\nevil==1"}', '{"keras_version": "3.15.0 --index-url=x"}',
        " " * 50_000_000 + '{"keras_version": "3.15.0"}',
    ],
    ids=range(11),
)  # fmt: skip
def test_no_version_of_keras(tmp_path, metadata):
    """A file that names no version is refused, and one that would put something else into the requirements."""
    with pytest.raises(ArtifactCorruptError, match=r"metadata\.json"):
        artifact.keras_version(written_by(tmp_path / "m", metadata))


@pytest.mark.parametrize("missing", [artifact.MLMODEL, artifact.KERAS_FILE])
def test_a_version_without_its_files_is_corrupt(version, missing):
    """A version lacks its MLmodel or its network: the error names what is missing."""
    (version / missing).unlink()
    with pytest.raises(ArtifactCorruptError, match=f"no file {missing}"):
        artifact.check_files(name for name in GOOD if name != missing)
    with pytest.raises(ArtifactCorruptError, match=f"no file {missing}"):
        artifact.keras_file(version)


def test_a_folder_in_place_of_the_network_is_corrupt(version):
    """A folder that has the name of the network is not taken for it."""
    (version / artifact.KERAS_FILE).unlink()
    (version / artifact.KERAS_FILE).mkdir()
    with pytest.raises(ArtifactCorruptError, match="no file"):
        artifact.keras_file(version)


@pytest.mark.parametrize("flavor", ["keras", "tensorflow"])
def test_both_flavors_of_keras_are_read(version, flavor):
    """MLflow has two flavors that write a Keras model, and the network of either is found."""
    (version / artifact.MLMODEL).write_text(f"flavors:\n  {flavor}: {{data: data}}\n  python_function: {{}}\n")
    assert artifact.keras_file(version) == version / artifact.KERAS_FILE


@pytest.mark.parametrize(
    ("mlmodel", "named"),
    [
        ("flavors: {sklearn: {pickled_model: model}, python_function: {}}", "python_function, sklearn"),
        ("flavors: {onnx: {}, 7: {}}", "7, onnx"),
        ("flavors: {}", ""),
        ("flavors: [keras]", "none"),
        ("flavors: keras", "none"),
        ("flavors:", "none"),
        ("model_uuid: 1", "none"),
    ],
)
def test_other_flavors_are_refused(version, mlmodel, named):
    """A model of another kind is refused with the flavors it has, though its files have the names of a Keras model."""
    (version / artifact.MLMODEL).write_text(mlmodel)
    with pytest.raises(ArtifactRefusedError) as caught:
        artifact.keras_file(version)
    assert str(caught.value) == f"the version has the flavors {named}; expected keras or tensorflow"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"flavors: {keras: ", "ParserError"),
        (b"a: b: c", "ScannerError"),
        (b"\tflavors: 1", "ScannerError"),
        (b"a: \x00", "ReaderError"),
        (b"a: \xff\xfe\xff", "ReaderError"),
        (b"a: !!python/object/apply:os.system ['exit 1']", "ConstructorError"),
        (b"a: *nobody", "ComposerError"),
        (b"{[1]: 2, {}: 3}", "ConstructorError"),
        (b"[" * 100_000, "RecursionError"),
        (b"a: 2024-13-45", "ValueError"),
        (b"a: 2024-01-01T99:00:00Z", "ValueError"),
        (b"a: !!float x", "ValueError"),
        (b"a: !!int ''", "IndexError"),
        (b"a: !!timestamp x", "AttributeError"),
        (b"a: 1" + b"0" * 9_999, "ValueError"),
        (b"", "not a mapping"),
        (b"- flavors", "not a mapping"),
        (b"keras", "not a mapping"),
        (b"a: 1\n---\nb: 2\n", "ComposerError"),
    ],
)
def test_an_mlmodel_that_is_no_yaml_mapping_is_corrupt(version, content, why):
    """Whatever the MLmodel file holds, it is read as plain data or refused with one typed error."""
    (version / artifact.MLMODEL).write_bytes(content)
    with pytest.raises(ArtifactCorruptError, match=why):
        artifact.keras_file(version)


def test_an_mlmodel_in_place_of_which_there_is_a_folder_is_corrupt(version):
    """An MLmodel that cannot be opened is refused like a damaged one."""
    (version / artifact.MLMODEL).unlink()
    (version / artifact.MLMODEL).mkdir()
    with pytest.raises(ArtifactCorruptError, match=r"MLmodel cannot be read: IsADirectoryError"):
        artifact.read_mlmodel(version)


def test_a_huge_mlmodel_is_not_parsed(version):
    """An MLmodel beyond the limit is refused by its size, with both numbers."""
    with (version / artifact.MLMODEL).open("ab") as file:
        file.truncate(artifact.LARGEST_MLMODEL + 1)
    with pytest.raises(ArtifactCorruptError, match="has 262145 bytes, the limit is 262144"):
        artifact.keras_file(version)


def test_a_yaml_bomb_is_harmless(version):
    """Aliases upon aliases are kept as what they are, and an error about them does not write them out."""
    path = version / artifact.MLMODEL
    path.write_text(BOMB + "flavors: {keras: *a11}\n")
    assert artifact.keras_file(version) == version / artifact.KERAS_FILE
    for flavors in ("*a11", "{sklearn: *a11}"):
        path.write_text(f"{BOMB}flavors: {flavors}\n")
        with pytest.raises(ArtifactRefusedError) as caught:
            artifact.keras_file(version)
        assert len(str(caught.value)) < 200


def test_merge_keys_that_multiply_are_refused(version):
    """Mappings merged into mappings, ten times as large at each level, are refused before they are merged."""
    levels = (f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))
    (version / artifact.MLMODEL).write_text("a0: &a0 {k: v}\n" + "".join(levels) + "flavors: {keras: {}}\n")
    with pytest.raises(ArtifactCorruptError, match="ConstructorError"):
        artifact.keras_file(version)


def test_the_error_about_flavors_is_short(version):
    """Names of flavors are quoted only as far as they fit an error message."""
    (version / artifact.MLMODEL).write_text(f"flavors: {{{', '.join(f'f{i}: 1' for i in range(1000))}}}\n")
    with pytest.raises(ArtifactRefusedError) as caught:
        artifact.keras_file(version)
    assert len(str(caught.value)) < 300


def test_a_yaml_bomb_in_the_name_of_a_flavor_is_harmless(version):
    """Names of flavors that hold aliases upon aliases are refused, and not written out either."""
    tuples = BOMB.replace("[", "!!python/tuple [")
    (version / artifact.MLMODEL).write_text(f"{tuples}flavors:\n  ? *a11\n  : 1\n")
    with pytest.raises(ArtifactCorruptError, match="ConstructorError"):
        artifact.keras_file(version)


@pytest.mark.parametrize("place", [artifact.KERAS_FILE, artifact.MLMODEL, "data/beside.txt"])
def test_links_out_of_the_folder_are_refused(version, tmp_path, place):
    """A link to a file elsewhere on the machine refuses the version, wherever in it the link is."""
    secret = tmp_path / "secret"
    secret.write_text("flavors: {keras: {}}")
    (version / place).unlink(missing_ok=True)
    (version / place).symlink_to(secret)
    with pytest.raises(ArtifactRefusedError, match=r"is a link, and links are not followed"):
        artifact.keras_file(version)


def test_links_inside_the_folder_to_folders_and_to_nothing_are_refused(version, tmp_path):
    """No kind of link is followed: not within the folder, not to a folder, not a broken one, not a ring."""
    link = version / "link"
    for target in (version / artifact.MLMODEL, tmp_path, version, tmp_path / "nowhere", link):
        link.symlink_to(target)
        with pytest.raises(ArtifactRefusedError, match="link is a link"):
            artifact.keras_file(version)
        link.unlink()


def test_a_version_whose_data_folder_lies_elsewhere_is_refused(version, tmp_path):
    """A network that is reached through a linked folder lies outside of the version and is refused."""
    (version / "data").rename(tmp_path / "elsewhere")
    (version / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactRefusedError, match="data is a link"):
        artifact.keras_file(version)


@pytest.mark.usefixtures("version")
def test_the_folder_itself_may_be_reached_through_a_link(tmp_path):
    """Where the version lies is the caller's choice: a link on the way to it does not count."""
    (tmp_path / "through").symlink_to(tmp_path)
    folder = tmp_path / "through" / "version"
    assert artifact.keras_file(folder) == folder / artifact.KERAS_FILE


def test_a_pickle_in_the_folder_is_never_run(version, tmp_path):
    """A downloaded version with a pickle in it is refused, and what the pickle would do is not done."""

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (version / "data" / "custom_objects.pkl").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(ArtifactRefusedError, match=r"custom_objects\.pkl is a pickle"):
        artifact.keras_file(version)
    assert not (tmp_path / "ran").exists()


def test_a_digest_is_of_all_bytes(version):
    """The digest of a file is its SHA-256, and one other bit gives another."""
    path = version / artifact.KERAS_FILE
    path.write_bytes(b"abc")
    assert artifact.digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abb")
    assert artifact.digest(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("same_weights", [True, False])
def test_intervals_stay_with_the_weights_they_were_measured_with(version, tmp_path, same_weights):
    """A derived folder has the prediction intervals of its base only if it has the weights of its base."""
    (version / artifact.INTERVALS_FILE).write_text("{}")
    (tmp_path / "model").write_bytes(b"network")
    made = artifact.derive(version, tmp_path / "made", tmp_path / "model", None, same_weights=same_weights)
    assert (made / artifact.INTERVALS_FILE).exists() == same_weights


@pytest.mark.parametrize("proven", [True, False])
def test_a_derived_version_is_the_base_with_another_network(version, tmp_path, proven):
    """A derived folder keeps what the base says of itself, and has the new network and its proof, or none."""
    model, proof = tmp_path / "model", tmp_path / "proof"
    model.write_bytes(b"another network")
    proof.write_bytes(b"another proof")
    (version / artifact.DOWNLOADED).write_text("what MLflow noted of the base")
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}

    made = artifact.derive(version, tmp_path / "made", model, proof if proven else None)

    assert made == tmp_path / "made"
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert files.pop(artifact.KERAS_FILE) == b"another network"
    assert files.pop(artifact.PROOF_FILE, None) == (b"another proof" if proven else None)
    assert files == {artifact.MLMODEL: (version / artifact.MLMODEL).read_bytes()}
    assert before == {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
