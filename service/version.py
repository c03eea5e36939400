"""The name and the version of the distribution."""

from importlib import metadata

DISTRIBUTION = "unroll-serving"  # `unroll` is another project's on the package index


def version() -> str:
    """The installed version; `unknown` in a checkout that is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
