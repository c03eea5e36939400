"""The structure of the project: which package may import which, and what generated files say."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"tensorflow", "keras", "mlflow"}
# Who may import what of ours; composition roots may import everything.
RULES = {
    "service/model": {"service.errors", "service.model"},
    "service/convert": {"service.errors", "service.model", "service.convert"},
    "service/web": {  # a client like any other
        "service.client",
        "service.config",
        "service.edge.status",
        "service.errors",
        "service.oip.byte_strings",
        "service.oip.messages",
        "service.pb",
        "service.version",
        "service.web",
    },
    "registry": {"registry"},
    "training": {
        "training",
        "registry",
        "service.calendar_features",
        "service.convert",
        "service.drawing",
        "service.errors",
        "service.model",
        "service.version",
    },
    "service": {"service", "registry"},
    "unroll": {"service.calendar_features", "service.client", "service.errors", "service.version"},
}
ROOTS = {"service/supervisor", "service/cli"}
# Within the service: protocols know serving and not each other, and serving knows no protocol and no transport.
APART = {
    "service/api": {"service.oip"},
    "service/oip": {"service.api"},
    "service/edge": {"service.api", "service.oip"},
    "service/serving": {"service.api", "service.oip", "service.edge", "service.pb"},
    "service/tensors.py": {"service.api", "service.oip", "service.edge", "service.serving", "service.pb"},
}


def imports(path):
    """Names of the modules that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources():
    for package in ("service", "registry", "training", "unroll"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("service/pb/"):
                yield pytest.param(path, name, id=name)


FILES = [source.values for source in sources()]


@pytest.mark.parametrize(("path", "name"), list(sources()))
def test_imports_point_one_way(path, name):
    """Each package imports only what stands below it; Keras and MLflow are imported by one file each."""
    if not any(name == root or name.startswith(f"{root}/") for root in ROOTS):
        allowed = next(allowed for folder, allowed in RULES.items() if name.startswith(f"{folder}/"))
        for module in imports(path):
            if module.partition(".")[0] in {"service", "registry", "training", "unroll"}:
                assert any(module == a or module.startswith(f"{a}.") for a in allowed), f"{name} imports {module}"
    for folder, others in APART.items():
        if name == folder or name.startswith(f"{folder}/"):
            apart = [m for m in imports(path) if any(m == other or m.startswith(f"{other}.") for other in others)]
            assert not apart, f"{name} imports {apart}"
    heavy = {module.partition(".")[0] for module in imports(path)} & HEAVY
    owner = {
        "training/backend.py": {"keras", "tensorflow"},
        "registry/store.py": {"mlflow"},
        "registry/run.py": {"mlflow"},
        "registry/mlmodel.py": {"mlflow"},
        "registry/mlflow_errors.py": {"mlflow"},
        "service/model/engines/keras.py": {"keras", "tensorflow"},  # only when an operator asks for that engine
        "service/mlflow/plugin.py": {"mlflow"},  # which MLflow imports, not we: it is MLflow's own command line
    }
    assert heavy <= owner.get(name, set())


def test_no_circles():
    """No two modules need each other, not even for types or within functions."""
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path, name in FILES}
    needs = {
        name: {
            module if module in modules else module.rpartition(".")[0]
            for module in imports(path)
            if module in modules or module.rpartition(".")[0] in modules
        }
        - {name}
        for name, path in modules.items()
    }
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("module", ["service.worker", "service.cli", "unroll", "registry.references"])
def test_serving_path_is_light(module):
    """What serves, and the command line, are imported without TensorFlow, Keras or MLflow."""
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_workers_are_started_first():
    """What starts the workers is imported without NumPy, h5py or gRPC, which the workers import meanwhile."""
    modules = "{'numpy', 'h5py', 'grpc', 'requests'}"
    code = f"import sys, service.cli, service.supervisor.supervisor; print({modules} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_layers_document_is_current():
    """docs/layers.md is what `make generate` makes of the reader's tables."""
    from service.model.supported import document

    assert (ROOT / "docs" / "layers.md").read_text() == document()


def test_first_lines():
    """Every file of ours says its subject in its first line."""
    for package in ("service", "registry", "training", "unroll", "tests", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name != "pb":  # generated
                assert path.read_text().startswith('"""'), path


def test_no_package_in_tests():
    """Tests are no packages: a folder `tests/service` with an __init__.py would hide `service`."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_module_has_tests():
    """Each module has a test file of its own name, or a row in tests/README.md, and each row names what exists."""
    text = (ROOT / "tests" / "README.md").read_text().partition("## Modules that are tested elsewhere")[2]
    rows = [row.split("|")[1:3] for row in text.splitlines() if row.startswith("| `")]
    listed = {name for modules, _ in rows for name in re.findall(r"`([^`]+)`", modules)}
    files = {name for _, tests in rows for name in re.findall(r"`([^`]+)`", tests)}
    stale = [name for name in listed if not (ROOT / name).exists()]
    stale += [f"tests/{name}" for name in files if not (ROOT / "tests" / name).is_file()]
    assert not stale, f"tests/README.md names what is not there: {sorted(stale)}"
    for path, name in FILES:
        own = ROOT / "tests" / Path(name).parent / f"test_{path.stem}.py"
        elsewhere = {name, *(parent.as_posix() for parent in Path(name).parents)} & listed
        assert path.name == "__init__.py" or own.exists() or elsewhere, (
            f"{name} has no tests: add {own.relative_to(ROOT)}, or a row in tests/README.md"
        )
