"""The list of supported layers and options, derived from the reader's own tables. docs/layers.md is made from it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from service.model.activations import ACTIVATIONS
from service.model.gradients import has_gradient
from service.model.layers import FAMILIES
from service.model.layers.cells import CELLS
from service.model.layers.operations import OPERATIONS
from service.model.layers.options import REQUIRED, Option
from service.model.tensors import INPUT_DTYPES, POLICIES


@dataclass(frozen=True)
class SupportedOption:
    """An option of a layer, and what it may be."""

    name: str
    accepts: str
    default: str  # empty where it is required


@dataclass(frozen=True)
class SupportedLayer:
    """A layer, what it computes, and its options; those without effect, or with one value only, are left out."""

    family: str
    name: str
    summary: str  # the first sentence of its description
    options: tuple[SupportedOption, ...]
    note: str
    gradient: bool  # whether InsightService can go back through it


def layers() -> tuple[SupportedLayer, ...]:
    """All layers, family by family."""
    return tuple(
        SupportedLayer(family, layer.CLASS, _summary(layer), _options(layer.OPTIONS), layer.NOTE, has_gradient(layer))
        for family, members in FAMILIES.items()
        for layer in members
    )


def document() -> str:
    """docs/layers.md."""
    return (
        "# Layers and options that are read\n\n"
        "Made by `make generate` from the tables that the reader itself uses. Options that concern training alone are\n"
        "accepted, and left out here. Anything else is refused when the file is loaded, by layer, class and option.\n\n"
        "The column *gradient* says whether `InsightService` can differentiate through the layer. All activations\n"
        "have a derivative, with TensorFlow's choices at kinks; operations that compare have none.\n\n"
        + markdown().strip()
        + "\n"
    )


def markdown() -> str:
    """The list as tables, one for each family, and what else may stand in a config."""
    lines: list[str] = []
    family = ""
    for layer in layers():
        if layer.family != family:
            family = layer.family
            lines += ["", f"**{family}**", "", "| layer | options | gradient |", "|---|---|---|"]
        options = ", ".join(f"`{option.name}`" for option in layer.options) or "none"
        gradient = "yes" if layer.gradient else "no"
        lines.append(f"| `{layer.name}` | {options}{f' ({layer.note})' if layer.note else ''} | {gradient} |")
    floats = [layer.CLASS for members in FAMILIES.values() for layer in members if "i" not in layer.TYPES]
    for title, names in (
        ("Not over integers", floats),
        ("Cells", CELLS),
        ("Activations", ACTIVATIONS),
        ("Operations between layers", OPERATIONS),
        ("Layer dtypes", POLICIES),
        ("Input dtypes", INPUT_DTYPES),
    ):
        lines += ["", f"**{title}**: {', '.join(f'`{name}`' for name in names)}"]
    return "\n".join(lines).lstrip() + "\n"


def _options(rules: Mapping[str, Option]) -> tuple[SupportedOption, ...]:
    return tuple(
        SupportedOption(name, rule.text, "" if rule.default is REQUIRED else str(rule.default))
        for name, rule in rules.items()
        if rule.listed
    )


def _summary(layer: type) -> str:
    return (inspect.getdoc(layer) or "").split("\n\n")[0].replace("\n", " ")
