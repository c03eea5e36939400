"""Limits on the size of a model file. They are checked before anything of that size is allocated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadLimits:
    """Bounds of the reader; the defaults leave room for any recurrent network that fits a server of 1 GiB."""

    file_bytes: int = 512 << 20
    """Size of the `.keras` file, and of the weights in it when unpacked."""
    config_bytes: int = 8 << 20
    """Size of config.json when unpacked, and of all that is neither config nor weights."""
    members: int = 64
    """Entries in the zip."""
    parameters: int = 100_000_000
    """Numbers in all weights together."""
    layers: int = 1_000
    """Layers, those inside nested models included."""
    calls: int = 4_000
    """Calls of layers, once nested and shared models are written out."""
    depth: int = 16
    """Models and wrappers inside each other."""
    rank: int = 8
    """Axes of a tensor."""
    proof_bytes: int = 64 << 20
    """Size of all arrays of a proof."""
