"""The packages that each extra installs, and the one-line error for a missing extra."""

from importlib.util import find_spec

from service.version import DISTRIBUTION

# Extras, and the modules that no command works without which needs the extra. `pip install` alone brings the client.
EXTRAS: dict[str, tuple[str, ...]] = {
    "page": ("starlette", "uvicorn"),
    "serve": ("grpc_reflection", "h5py", "mlflow", "msgspec", "prometheus_client", "requests", "yaml"),
    "local": ("alembic", "flask", "sqlalchemy"),
    "tables": ("pandas", "pyarrow"),
    "train": ("keras", "matplotlib", "optuna", "tensorflow"),
    "baselines": ("statsforecast",),
    "onnx": ("onnxruntime",),
    "jwt": ("jwt",),
    "otel": ("opentelemetry",),
    "cluster": ("ray",),
    "convert": ("tf_keras",),
    "torch": ("torch",),
}


def require(*extras: str) -> None:
    """Ends the command with one line where a module of these extras is not installed; imports none of them."""
    for extra in extras:
        if missing := [module for module in EXTRAS[extra] if find_spec(module) is None]:
            raise SystemExit(f"unroll: {_sentence(missing, extra)}")


def hint(module: str | None) -> str:
    """The line for a module that could not be imported; empty where no extra brings it."""
    package = (module or "").partition(".")[0]
    return next((_sentence([package], extra) for extra, modules in EXTRAS.items() if package in modules), "")


def _sentence(modules: list[str], extra: str) -> str:
    verb = "is" if len(modules) == 1 else "are"
    return f"this needs {', '.join(modules)}, which {verb} not installed: pip install '{DISTRIBUTION}[{extra}]'"
