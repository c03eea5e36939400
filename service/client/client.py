"""The calls of the client: predictions, traces, weights and models, with NumPy arrays in and out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from service.client.insight import InsightCalls
from service.client.messages import (
    Array,
    Arrays,
    Inputs,
    LayerTrace,
    Patch,
    WeightChange,
    arrays,
    change,
    patch,
    tensors,
    to_array,
    to_classes,
)
from service.pb import unroll_pb2 as pb


@dataclass(frozen=True)
class Prediction:
    """What a network answered, and which."""

    model: str
    version: str
    outputs: Mapping[str, Array]
    final_state: Mapping[str, Array]  # empty unless asked for
    what_if: bool
    patched: bool
    intervals: Mapping[float, tuple[Array, Array]] = field(default_factory=dict, kw_only=True)
    """Lower and upper ends by level in percent, in the shape of the output; empty unless asked for."""
    classes: Mapping[str, Array] = field(default_factory=dict, kw_only=True)
    """By output, an array of `ClassScore`, [batch, classes] or [batch, timesteps, classes], the largest score first;
    empty unless asked for."""

    @property
    def output(self) -> Array:
        """The output of a network that has one. Raises ValueError where there are several."""
        (output,) = self.outputs.values()
        return output


@dataclass(frozen=True)
class StreamPrediction(Prediction):
    """What a network answered after some timesteps of a stream."""

    timesteps: int  # received so far
    version_changed: bool  # whether another version answered before


@dataclass(frozen=True)
class Trace:
    """What happened inside a network."""

    model: str
    version: str
    layers: Mapping[str, LayerTrace]  # by name, in the order of computation
    outputs: Mapping[str, Array]
    what_if: bool
    patched: bool = False
    sums: Sequence[pb.WrittenSum] = ()


@dataclass(frozen=True)
class Examples:
    """Sequences of a version's proof, and what training recorded of its inputs."""

    model: str
    version: str
    inputs: Mapping[str, Array]  # [sequences, timesteps, features] each; empty: the version has no proof
    sequences: int  # that the proof has
    columns: Sequence[pb.Column]  # in the order of the features; empty where training recorded none
    target: pb.Column | None
    classes: Sequence[str]
    window: int  # timesteps; 0: not recorded
    horizon: int
    step: float  # seconds between timesteps; 0: not recorded
    targets: Sequence[pb.Column] = ()  # in the order of the output's last axis; `target` is the first


class Client(InsightCalls):
    """Talks to one server. Use it in a `with` statement, from any number of threads.

    Every method raises the errors of service.errors.
    """

    def predict(
        self,
        inputs: Inputs,
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        return_state: bool = False,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
        levels: Sequence[float] = (),
        recent_errors: npt.ArrayLike = (),
        top_classes: int = 0,
    ) -> Prediction:
        """The prediction for a batch: an array [batch, timesteps, features], or one for each input by name.

        levels: in percent, such as 80 and 95, at which the prediction gets intervals. recent_errors: the recent error
        of the series, (batch,) or (batch, targets), by which adaptive intervals are scaled. top_classes: number of
        classes with the largest scores to name; 0: none.
        """
        request = pb.PredictRequest(
            model=model,
            version=version,
            inputs=tensors(inputs),
            initial_state=tensors(initial_state or {}),
            return_state=return_state,
            what_if=map(change, what_if),
            patches=map(patch, patches),
            levels=levels,
            recent_errors=np.ravel(recent_errors),
            top_classes=top_classes,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer = self._call(0, "Predict", request)
        return Prediction(
            answer.model,
            answer.version,
            arrays(answer.outputs),
            arrays(answer.final_state),
            answer.what_if,
            answer.patched,
            intervals={
                interval.level: (to_array(interval.lower), to_array(interval.upper)) for interval in answer.intervals
            },
            classes={found.output: to_classes(found) for found in answer.top_classes},
        )

    def stream(
        self,
        chunks: Iterable[Inputs],
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        return_state: bool = False,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
        follow: bool = False,
    ) -> Iterator[StreamPrediction]:
        """Feeds a sequence piece by piece: an answer after each chunk [batch, timesteps, features], as they come.

        The chunks may come from anywhere and at any time; the stream ends with them, or when the loop is left.
        """
        options = pb.StreamOptions(
            model=model,
            version=version,
            initial_state=tensors(initial_state or {}),
            return_state=return_state,
            what_if=map(change, what_if),
            patches=map(patch, patches),
            follow=follow,
            encoding=pb.TENSOR_ENCODING_RAW,
        )

        def requests() -> Iterator[pb.PredictStreamRequest]:
            yield pb.PredictStreamRequest(options=options)
            for chunk in chunks:
                yield pb.PredictStreamRequest(inputs=tensors(chunk))

        with closing(self._answers(0, "PredictStream", requests())) as answers:
            for answer in answers:
                if answer.outputs:  # the first answer only names the version
                    yield StreamPrediction(
                        answer.model,
                        answer.version,
                        arrays(answer.outputs),
                        arrays(answer.final_state),
                        answer.what_if,
                        answer.patched,
                        answer.timesteps,
                        answer.version_changed,
                    )

    def generate(
        self,
        prompt: str,
        *,
        model: str = "",
        version: str = "",
        length: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
    ) -> Iterator[pb.GenerateResponse]:
        """Continues a text: an answer for each character, as they come, until the loop is left.

        The same seed gives the same text; None: the server draws one, and names it in each answer.
        """
        request = pb.GenerateRequest(
            model=model, version=version, prompt=prompt, length=length, temperature=temperature, top_k=top_k, seed=seed
        )
        with closing(self._answers(0, "Generate", request)) as answers:
            yield from answers

    def trace(
        self,
        inputs: Inputs,
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        layers: Sequence[str] = (),
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
        sums: Sequence[tuple[str, int, int, int]] = (),
        names: Sequence[str] = (),
        timesteps: tuple[int, int] = (0, 0),
    ) -> Trace:
        """What happens inside a network for a batch: each layer's output, states and gates at every timestep.

        `sums`: pre-activations to write out term by term, each (layer, sequence, timestep, column). `names`: tensors to
        show, such as `hidden_state`; none: all. `timesteps`: (start, stop) to show; (0, 0): all.
        """
        request = pb.TraceRequest(
            model=model,
            version=version,
            inputs=tensors(inputs),
            initial_state=tensors(initial_state or {}),
            layers=layers,
            sums=[pb.SumRequest(layer=one, sequence=s, timestep=t, column=c) for one, s, t, c in sums],
            what_if=map(change, what_if),
            patches=map(patch, patches),
            encoding=pb.TENSOR_ENCODING_RAW,
            tensors=names,
            timesteps=pb.IndexRange(start=timesteps[0], stop=timesteps[1]),
        )
        answer: pb.TraceResponse = self._call(0, "Trace", request)
        return Trace(
            answer.model,
            answer.version,
            {layer.layer: LayerTrace(layer.class_name, arrays(layer.tensors)) for layer in answer.layers},
            arrays(answer.outputs),
            answer.what_if,
            answer.patched,
            tuple(answer.sums),
        )

    def weights(self, *, model: str = "", version: str = "", names: Sequence[str] = ()) -> dict[str, Array]:
        """The values of the weights, by name, in Keras's order."""
        answer = self.get_weights(model=model, version=version, names=names, values=True)
        return {weight.name: to_array(weight.value) for weight in answer.weights}

    def get_weights(
        self, *, model: str = "", version: str = "", names: Sequence[str] = (), values: bool = False
    ) -> pb.GetWeightsResponse:
        """The weights with their statistics, and the version and digest they belong to."""
        request = pb.GetWeightsRequest(
            model=model,
            version=version,
            weights=names,
            view=pb.WEIGHT_VIEW_FULL if values else pb.WEIGHT_VIEW_BASIC,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.GetWeightsResponse = self._call(1, "GetWeights", request)
        return answer

    def compare_weights(
        self, base_version: str, version: str, *, model: str = "", names: Sequence[str] = (), values: bool = False
    ) -> pb.CompareWeightsResponse:
        """What differs between two versions, weight by weight."""
        request = pb.CompareWeightsRequest(
            model=model,
            base_version=base_version,
            version=version,
            weights=names,
            view=pb.WEIGHT_VIEW_FULL if values else pb.WEIGHT_VIEW_BASIC,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.CompareWeightsResponse = self._call(1, "CompareWeights", request)
        return answer

    def override_weights(
        self,
        changes: Sequence[WeightChange] | Arrays,
        *,
        reason: str,
        expected_version: str = "",
        expected_digest: str = "",
        model: str = "",
        alias: str = "",
        actor: str = "",
        keep_alias: bool = False,
        request_id: str = "",
    ) -> pb.OverrideWeightsResponse:
        """Registers a version with other weights and moves the alias to it; served when this returns.

        `changes` are WeightChanges, or whole weights by name. Give the version or the digest that you looked at.
        A call that got no answer may be repeated with the same `request_id`, such as a UUID: it is done once.
        """
        if isinstance(changes, Mapping):
            changes = [WeightChange(name, value) for name, value in changes.items()]
        request = pb.OverrideWeightsRequest(
            model=model,
            alias=alias,
            changes=map(change, changes),
            expected_version=expected_version,
            expected_digest=expected_digest,
            reason=reason,
            actor=actor,
            keep_alias=keep_alias,
            request_id=request_id,
        )
        answer: pb.OverrideWeightsResponse = self._call(1, "OverrideWeights", request, operates=True)
        return answer

    def models(self) -> Iterator[pb.Model]:
        """The models that are served, by name."""
        request = pb.ListModelsRequest()
        while True:
            page = self._call(2, "ListModels", request)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def model(self, model: str = "") -> pb.Model:
        """One model."""
        answer: pb.GetModelResponse = self._call(2, "GetModel", pb.GetModelRequest(model=model))
        return answer.model

    def versions(self, model: str = "") -> Iterator[pb.RegisteredVersion]:
        """The versions of a served model that the registry has, newest first; asked for page by page."""
        request = pb.ListVersionsRequest(model=model)
        while True:
            page = self._call(2, "ListVersions", request)
            yield from page.versions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def examples(self, *, model: str = "", version: str = "", sequences: int = 0) -> Examples:
        """Sequences that the proof of a version was made of, at most so many if given, and what its inputs mean."""
        request = pb.GetExamplesRequest(
            model=model, version=version, sequences=sequences, encoding=pb.TENSOR_ENCODING_RAW
        )
        answer: pb.GetExamplesResponse = self._call(2, "GetExamples", request)
        return Examples(
            answer.model,
            answer.version,
            arrays(answer.inputs),
            answer.sequences,
            tuple(answer.columns),
            answer.target if answer.HasField("target") else None,
            tuple(answer.classes),
            answer.window,
            answer.horizon,
            answer.step,
            tuple(answer.targets),
        )

    def server(self) -> pb.GetServerResponse:
        """The server's limits and features, and who the caller is to it: name and roles."""
        answer: pb.GetServerResponse = self._call(2, "GetServer", pb.GetServerRequest())
        return answer

    def move_alias(
        self,
        version: str,
        *,
        expected_version: str,
        alias: str = "",
        model: str = "",
        reason: str = "",
        actor: str = "",
        request_id: str = "",
    ) -> pb.MoveAliasResponse:
        """Points an alias at another version; served when this returns.

        `expected_version` is the version that it points at now; empty: the alias does not exist yet, and is created.
        For `request_id` see `override_weights`.
        """
        request = pb.MoveAliasRequest(
            model=model,
            alias=alias,
            version=version,
            expected_version=expected_version,
            reason=reason,
            actor=actor,
            request_id=request_id,
        )
        answer: pb.MoveAliasResponse = self._call(2, "MoveAlias", request, operates=True)
        return answer

    def watch(self, model: str = "") -> Iterator[pb.WatchModelResponse]:
        """The model as it is, then at each change, until the loop is left."""
        yield from self._answers(2, "WatchModel", pb.WatchModelRequest(model=model))
