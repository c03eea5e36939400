"""The options of a layer's config: a rule parses and checks each one, and options without a rule are refused."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import UnsupportedModelError
from service.model.activations import ACTIVATIONS
from service.model.composed import COMPOSED, recognized

REQUIRED = object()
# Of anything that a config says once (units, filters, axes): far above sense, far below overflow.
MAX_EXTENT = 1 << 24
MAX_STEPS = 1 << 16  # that a layer may look at, add or repeat, whatever number of timesteps arrives


@dataclass(frozen=True)
class Option:
    """A rule: how a value is checked, what the list of supported layers says of it, and what a missing one means."""

    parse: Callable[[Any], Any]  # raises ValueError for what it does not accept
    text: str
    default: Any = REQUIRED
    listed: bool = True  # whether the list of supported layers names it


def flag(default: bool | object = REQUIRED) -> Option:
    """True or false."""
    return Option(_flag, "true or false", default)


def size(default: int | object = REQUIRED, high: int = MAX_EXTENT) -> Option:
    """An integer from 1."""
    return Option(lambda value: _integer(value, 1, high), "an integer from 1", default)


def integer(low: int, high: int, default: int | object = REQUIRED) -> Option:
    """An integer between bounds."""
    return Option(lambda value: _integer(value, low, high), f"an integer from {low} to {high}", default)


def number(default: float | object = REQUIRED) -> Option:
    """A finite number."""
    return Option(_number, "a number", default)


def activation(default: str | object = REQUIRED) -> Option:
    """The name of an activation; none is `linear`."""
    return Option(_activation, "an activation by name", default)


def choice(*values: str | int | bool | None, default: object = REQUIRED) -> Option:
    """One of some values."""

    def parse(value: Any) -> Any:
        # 1 == True == 1.0 in Python; a config that writes one for another is not what Keras wrote.
        if not any(value == known and type(value) is type(known) for known in values):
            raise ValueError
        return value

    return Option(parse, " or ".join(str(value) for value in values), default, listed=len(values) > 1)


def optional(rule: Option) -> Option:
    """None, or what another rule accepts."""
    return Option(lambda value: None if value is None else rule.parse(value), f"none or {rule.text}", None)


def sizes(count: int, low: int = 1, default: Any = REQUIRED) -> Option:
    """So many numbers of timesteps as a tuple; a single one counts for all."""

    def parse(value: Any) -> tuple[int, ...]:
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count:
            raise ValueError
        return tuple(_integer(v, low, MAX_STEPS) for v in values)

    return Option(parse, "an integer" if count == 1 else f"an integer or {count} of them", default)


def sizes_of(most: int) -> Option:
    """A list of at most so many integers from 1, as a tuple."""

    def parse(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not 0 < len(value) <= most:
            raise ValueError
        return tuple(_integer(v, 1, MAX_EXTENT) for v in value)

    return Option(parse, "a list of one integer" if most == 1 else f"a list of at most {most} integers")


def axes(default: Any = REQUIRED) -> Option:
    """An axis or a list of axes, as a tuple."""

    def parse(value: Any) -> tuple[int, ...]:
        return tuple(_integer(v, -32, 32) for v in (value if isinstance(value, list) else [value]))

    return Option(parse, "an axis or a list of axes", default)


# Options that name the functions of an equation, or how it resets.
IN_EQUATIONS = ("activation", "recurrent_activation", "reset_after")


def in_equations(options: Mapping[str, Any]) -> dict[str, str]:
    """Those of some options that an equation needs, as text."""
    return {name: str(options[name]).lower() for name in IN_EQUATIONS if name in options}


ANY = Option(lambda value: value, "anything: it has no effect on a prediction", None, listed=False)
# What layers carry for training alone; it has no effect on a prediction.
TRAINING_ONLY = {
    f"{what}_{kind}": ANY
    for what in (
        "kernel",
        "recurrent",
        "bias",
        "embeddings",
        "beta",
        "gamma",
        "alpha",
        "moving_mean",
        "moving_variance",
        "depthwise",
        "pointwise",
    )
    for kind in ("initializer", "regularizer", "constraint")
} | {"activity_regularizer": ANY, "seed": ANY}


def parse(config: Mapping[str, Any], rules: Mapping[str, Option], where: str, skip: Collection[str]) -> dict[str, Any]:
    """The options of a layer. Arguments as `faults`. Raises UnsupportedModelError, the first of the faults."""
    for fault in faults(config, rules, where, skip):
        raise fault
    return {key: rule.parse(config[key]) if key in config else rule.default for key, rule in rules.items()}


def faults(
    config: Mapping[str, Any], rules: Mapping[str, Option], where: str, skip: Collection[str]
) -> Iterator[UnsupportedModelError]:
    """All that is wrong with the options of a layer: keys without a rule, values that theirs refuses, missing ones.

    `where` names the layer and its class, for errors; keys in `skip` are somebody else's.
    """
    for key in config:
        if key not in rules and key not in skip and key not in TRAINING_ONLY:
            yield UnsupportedModelError(f"{where}: the option {shown(key)} is not supported", option=shown(key))
    for key, rule in rules.items():
        if key not in config:
            if rule.default is REQUIRED:
                yield UnsupportedModelError(f"{where}: the option {key} is missing", option=key)
            continue
        try:
            rule.parse(config[key])
        except (ValueError, TypeError, OverflowError):
            yield UnsupportedModelError(
                f"{where}: {key}={shown(config[key])} is not supported; expected {rule.text}", option=key
            )


def shown(value: Any, length: int = 80) -> str:
    """A value out of a file, fit to be shown: short, on one line, printable."""
    if isinstance(value, dict):
        name = value.get("class_name")
        text = name if isinstance(name, str) else f"an object with {len(value)} entries"
    elif isinstance(value, list):
        text = repr(value) if len(value) <= 8 else f"a list of {len(value)}"
    else:
        text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= length else text[: length - 1] + "…"
    return "".join(c if c.isprintable() else "�" for c in text)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _activation(value: Any) -> str:
    if isinstance(value, dict):
        try:
            return recognized(value)
        except (KeyError, TypeError, AttributeError) as error:  # it may hold anything
            raise ValueError from error
    name = "linear" if value is None else value
    if not isinstance(name, str) or name not in ACTIVATIONS or name in COMPOSED:
        raise ValueError
    return name
