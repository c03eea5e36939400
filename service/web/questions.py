"""The questions of the page: each becomes one call of the client, and its answer JSON."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from service.client import Client
from service.client.insight import Target
from service.client.messages import to_array
from service.errors import InvalidArgumentError
from service.web import plain

MOST_PLAYED = 2048  # timesteps of one sequence that are played one by one
MOST_SUMS = 64
MOST_VERSIONS = 1000
MOST_DIGITS = 9


def models(client: Client, _: Mapping[str, Any]) -> Any:
    """All models that the server serves to the caller."""
    return [plain.message(model) for model in client.models()]


def versions(client: Client, asked: Mapping[str, Any]) -> Any:
    """The newest versions of a model in the registry: at most `limit`, and whether there are more."""
    text = plain.text(asked, "limit", "20") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise InvalidArgumentError(f"limit: expected a whole number, got {text[:40]!r}", field="limit")
    limit = max(1, min(int(text), MOST_VERSIONS))
    found = list(itertools.islice(client.versions(plain.text(asked, "model")), limit + 1))
    return {"versions": [plain.message(version) for version in found[:limit]], "more": len(found) > limit}


def examples(client: Client, asked: Mapping[str, Any]) -> Any:
    """An example input of a version, with what is known of its columns."""
    answer = client.examples(model=plain.text(asked, "model"), version=plain.text(asked, "version"), sequences=1)
    return {
        "version": answer.version,
        "inputs": plain.arrays(answer.inputs),
        "columns": [plain.message(column) for column in answer.columns],
        "target": plain.message(answer.target) if answer.target else None,
        "classes": list(answer.classes),
        "window": answer.window,
        "horizon": answer.horizon,
        "step": answer.step,
    }


def weights(client: Client, asked: Mapping[str, Any]) -> Any:
    """The weights of a version with their values and statistics; `names`, separated by commas, selects some."""
    names = [name for name in plain.text(asked, "names").split(",") if name]
    answer = client.get_weights(
        model=plain.text(asked, "model"), version=plain.text(asked, "version"), names=names, values=True
    )
    return {
        "model": answer.model,
        "version": answer.version,
        "digest": answer.digest,
        "weights": [
            {
                "name": weight.name,
                "value": plain.array(to_array(weight.value)),
                "statistics": plain.message(weight.statistics),
            }
            for weight in answer.weights
        ],
    }


def compare(client: Client, asked: Mapping[str, Any]) -> Any:
    """The differences of the weights of two versions."""
    answer = client.compare_weights(
        plain.text(asked, "base"), plain.text(asked, "version"), model=plain.text(asked, "model"), values=True
    )
    return {
        "base_version": answer.base_version,
        "version": answer.version,
        "only_in_base": list(answer.only_in_base),
        "only_in_version": list(answer.only_in_version),
        "differences": [
            {
                "name": one.name,
                "max_change": one.max_change,
                "mean_change": one.mean_change,
                "cosine": one.cosine,
                "changed": one.changed,
                "difference": plain.array(to_array(one.difference)),
            }
            for one in answer.differences
        ],
    }


def predict(client: Client, asked: Mapping[str, Any]) -> Any:
    """A prediction for one sequence, with intervals at `levels` in percent."""
    about = plain.read_subject(asked)
    answer = client.predict(
        about.inputs,
        return_state=True,
        levels=plain.numbers(asked, "levels"),
        **about.options(),
    )
    return {
        "model": answer.model,
        "version": answer.version,
        "outputs": plain.arrays(answer.outputs),
        "intervals": [
            {"level": level, "lower": plain.array(lower), "upper": plain.array(upper)}
            for level, (lower, upper) in answer.intervals.items()
        ],
        "final_state": plain.arrays(answer.final_state),
    }


def trace(client: Client, asked: Mapping[str, Any]) -> Any:
    """What happens inside a network, with sums written out: `sums`, each [layer, timestep, column]."""
    about = plain.read_subject(asked)
    sums = asked.get("sums", [])
    if not isinstance(sums, list) or len(sums) > MOST_SUMS:
        raise InvalidArgumentError(f"sums: expected a list of at most {MOST_SUMS}", field="sums")
    wanted = []
    for i, one in enumerate(sums):
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[0], str):
            raise InvalidArgumentError(f"sums[{i}]: expected [layer, timestep, column]", field=f"sums[{i}]")
        timestep, column = plain.integers({"sums": one[1:]}, "sums", 2)
        wanted.append((one[0], 0, timestep, column))
    answer = client.trace(
        about.inputs,
        layers=plain.texts(asked, "layers"),
        sums=wanted,
        **about.options(),
    )
    return {
        "model": answer.model,
        "version": answer.version,
        "layers": plain.layers(answer.layers),
        "outputs": plain.arrays(answer.outputs),
        "sums": [plain.message(written) for written in answer.sums],
    }


def play(client: Client, asked: Mapping[str, Any]) -> Any:
    """A sequence through a stream, one timestep after the other: the outputs and the states after each."""
    about = plain.read_subject(asked)
    lengths = {value.shape[1] if value.ndim > 1 else 0 for value in about.inputs.values()}
    if len(lengths) != 1 or not 0 < (length := lengths.pop()) <= MOST_PLAYED:
        raise InvalidArgumentError(
            f"inputs: expected [1, timesteps, …] with the same number of timesteps, at most {MOST_PLAYED}",
            field="inputs",
        )
    chunks = ({name: value[:, t : t + 1] for name, value in about.inputs.items()} for t in range(length))
    answers = client.stream(
        chunks,
        return_state=True,
        **about.options(),
    )
    steps = [
        {"outputs": plain.arrays(answer.outputs), "state": plain.arrays(answer.final_state), "version": answer.version}
        for answer in answers
    ]
    return {"steps": steps}


def attribute(client: Client, asked: Mapping[str, Any]) -> Any:
    """What each part of the input adds to one number of the output."""
    about = plain.read_subject(asked)
    baseline = plain.read_arrays(asked, "baseline_values")
    answer = client.attribute(
        about.inputs,
        _target(asked),
        method=plain.text(asked, "method", "integrated_gradients"),
        baseline=baseline or plain.text(asked, "baseline", "zeros"),
        points=plain.integer(asked, "points"),
        **about.options(),
    )
    return {
        "version": answer.version,
        "value": plain.array(answer.value),
        "baseline_value": plain.array(answer.baseline_value),
        "scores": plain.arrays(answer.scores),
        "residual": plain.array(np.asarray(answer.residual, float)),
    }


def gradients(client: Client, asked: Mapping[str, Any]) -> Any:
    """The gradients of one number of the output, by inputs and states."""
    about = plain.read_subject(asked)
    answer = client.gradients(
        about.inputs,
        _target(asked),
        by=plain.texts(asked, "by") or ["inputs", "states"],
        **about.options(),
    )
    return {
        "version": answer.version,
        "value": plain.array(answer.value),
        "inputs": plain.arrays({**answer.inputs, **answer.embedded}),
        "layers": plain.layers(answer.layers),
    }


def memory(client: Client, asked: Mapping[str, Any]) -> Any:
    """How far back each recurrent layer remembers."""
    about = plain.read_subject(asked)
    answer = client.remember(
        about.inputs,
        **about.options(),
    )
    return {
        "version": answer.version,
        "layers": [
            {
                "layer": name,
                "class_name": one.class_name,
                "by_states": plain.array(one.by_states),
                "by_inputs": plain.array(one.by_inputs),
                "horizons": one.horizons,
                "spectral_radius": str(one.spectral_radius),
            }
            for name, one in answer.layers.items()
        ],
    }


def dynamics(client: Client, asked: Mapping[str, Any]) -> Any:
    """A recurrent layer as a dynamical system: its fixed points, and its modes at some timesteps."""
    about = plain.read_subject(asked)
    answer = client.find_fixed_points(
        about.inputs,
        layer=plain.text(asked, "layer"),
        timesteps=plain.integers(asked, "timesteps"),
        starts=plain.integer(asked, "starts"),
        **about.options(),
    )
    return plain.message(answer)


def override(client: Client, asked: Mapping[str, Any]) -> Any:
    """Registers a version with other weights, and puts it into service."""
    answer = client.override_weights(
        plain.read_changes(asked, "changes"),
        reason=plain.text(asked, "reason"),
        expected_version=plain.text(asked, "expected_version"),
        model=plain.text(asked, "model"),
        alias=plain.text(asked, "alias"),
        request_id=plain.text(asked, "request_id"),
    )
    return plain.message(answer)


def serve(client: Client, asked: Mapping[str, Any]) -> Any:
    """Moves an alias to another version."""
    answer = client.move_alias(
        plain.text(asked, "version"),
        expected_version=plain.text(asked, "expected_version"),
        alias=plain.text(asked, "alias"),
        model=plain.text(asked, "model"),
        reason=plain.text(asked, "reason"),
        request_id=plain.text(asked, "request_id"),
    )
    return plain.message(answer)


def _target(asked: Mapping[str, Any]) -> Target:
    timestep = plain.integer(asked, "timestep") if asked.get("timestep") is not None else None
    return Target(output=plain.text(asked, "output"), timestep=timestep, element=plain.integer(asked, "element"))
