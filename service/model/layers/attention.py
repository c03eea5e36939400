"""Attention: each query takes a mean of all values, weighted by a softmax of how their keys fit it."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from service.model import activations
from service.model.layers.base import Built, Layer, Record, Weights, WeightSpec, show
from service.model.layers.options import ANY, Option, choice, flag, optional, size, sizes_of
from service.model.numerics import multiply, prepare, product
from service.model.tensors import Array, Shape, Tensor, Time

T = TypeVar("T")
SCORES = "attention_scores"  # what a trace shows: the weights of the mean, after mask and softmax


class Attending(Layer):
    """A layer called on a query, a value, a key (the value, where none is given), and masks of these.

    query (batch, Tq, n), value (batch, Tv, m), key (batch, Tv, k); `_mask`s of them (batch, T).
    """

    MANY_INPUTS = True
    TYPES = "f"
    NOTE = "with masks, `use_causal_mask`, `return_attention_scores`"
    CALL: ClassVar[Mapping[str, Option]] = {
        "use_causal_mask": flag(False),
        "return_attention_scores": flag(False),
    }

    def by_role(self, items: Sequence[T]) -> dict[str, T]:
        """What belongs to each input, by the role of the input in the call."""
        return dict(zip(self.options.get("roles") or self.ROLES, items, strict=False))

    def check_types(self, inputs: Sequence[Tensor]) -> None:
        """Floats, and truth values as masks."""
        super().check_types([x for role, x in self.by_role(inputs).items() if not role.endswith("mask")])
        for role, x in self.by_role(inputs).items():
            if role.endswith("mask") and x.dtype.kind != "b":
                raise self.unsupported(f"{role} of type {x.dtype.name} is not supported; expected bool")

    def tensors(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, value and key; their shapes fit each other, and so do those of the masks."""
        given = self.by_role(inputs)
        if len(given) < len(inputs) or not {"query", "value"} <= given.keys():
            raise self.unsupported(f"expected query, value, and perhaps key and masks, got {len(inputs)} inputs")
        query, value, key = given["query"], given["value"], given.get("key", given["value"])
        for role, x in given.items():
            if x.rank != (2 if role in {"query_mask", "value_mask", "key_mask"} else 3):
                raise self.unsupported(f"{role} of shape {show(x.shape)} is not supported")
        for x in (query, value, key):
            self.width(x)
        if _differ(value.shape[1], key.shape[1]):
            raise self.unsupported("value and key differ in the number of timesteps")
        expected: dict[str, Shape] = {
            "query_mask": (None, query.shape[1]),
            "value_mask": (None, value.shape[1]),
            "key_mask": (None, value.shape[1]),
            "attention_mask": (None, query.shape[1], value.shape[1]),
        }
        for role, shape in expected.items():
            if role in given and any(map(_differ, given[role].shape, shape)):
                raise self.unsupported(f"{role} of shape {show(given[role].shape)} does not fit {show(shape)}")
        return query, value, key

    def attended(self, inputs: Sequence[Tensor], shape: Shape, weights: Sequence[WeightSpec], heads: Shape) -> Built:
        """The output of that shape, and with `return_attention_scores` the scores, of all `heads`."""
        query, value, _ = self.tensors(inputs)
        latest = all(x.time is Time.LATEST for x in inputs)
        time = Time.LATEST if latest else Time.WHOLE
        outputs = [self.output(shape, time)]
        if self.options.get("return_attention_scores"):
            outputs.append(self.output((None, *heads, query.shape[1], value.shape[1]), time))
        return Built(tuple(outputs), tuple(weights))

    def not_streamable(self) -> str:
        """Also where it is causal: what it looks back at would grow with every timestep."""
        if self.options.get("use_causal_mask"):
            return "looks back at all timesteps so far, which no state of fixed size holds"
        return super().not_streamable()

    def allowed(
        self, given: Mapping[str, Array], masks: Mapping[str, Array | None], queries: int, values: int
    ) -> Array | None:
        """Where a query may look: truth values that broadcast to (batch, Tq, Tv); None: everywhere."""
        found: Array | None = None
        for role, mask in masks.items():
            if mask is not None:
                if mask.shape[1] != (queries if role == "query" else values):
                    raise ValueError(f"the mask of the {role} has {mask.shape[1]} timesteps")
                found = _both(found, mask[:, :, None] if role == "query" else mask[:, None, :])
        if self.options.get("use_causal_mask"):
            found = _both(found, np.tri(queries, values, dtype=bool)[None])
        width = self.options.get("sliding_window")
        if width is not None:
            apart = np.abs(np.arange(queries)[:, None] - np.arange(values))
            found = _both(found, (apart < width)[None])
        return _both(found, given.get("attention_mask"))

    def result(self, y: Array, scores: Array, record: Record | None) -> Any:
        """The output, with the scores where the call asks for them; keeps these."""
        if record is not None:
            record[SCORES] = scores
        return (y, scores) if self.options.get("return_attention_scores") else y

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """The mask that the query carries."""
        mask = self.by_role(masks)["query"]
        return (mask, None) if self.options.get("return_attention_scores") else mask


class Attention(Attending):
    """softmax(scores)·value; scores (batch, Tq, Tv) are query·keyᵀ, or w·Σ tanh(query + key) with `concat`."""

    CLASS = "Attention"
    ROLES = ("query", "value", "key", "query_mask", "value_mask", "key_mask")
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "use_scale": flag(False),
        "score_mode": choice("dot", "concat", default="dot"),
        "dropout": ANY,
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Weights of the scores; the width of the value."""
        query, value, key = self.tensors(inputs)
        if self.width(query) != self.width(key):
            raise self.unsupported(f"query and key differ in width: {query.shape[-1]} and {key.shape[-1]}")
        shape = (None, query.shape[1], self.width(value))
        return self.attended(inputs, shape, self.score_weights(self.width(query)), ())

    def score_weights(self, width: int) -> list[WeightSpec]:
        """Two numbers at most."""
        names = ["scale"] if self.options["use_scale"] else []
        names += ["concat_score_weight"] if self.options["score_mode"] == "concat" else []
        return [self.weight(name, (), f"vars/{i}") for i, name in enumerate(names)]

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """Scores, with `concat` for each feature."""
        query, value, _ = self.tensors(inputs)
        pairs = (query.shape[1] or 0) * (value.shape[1] or 0)
        return pairs * ((self.width(query) if self.sums else 1) + 2)

    @property
    def sums(self) -> bool:
        """Whether scores are sums of a function of query and key."""
        return bool(self.options["score_mode"] == "concat")

    def prepare(self, weights: Weights) -> Any:
        """Cast."""
        return {name: self.cast(weights, name) for name in weights}

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output, zero where the query is masked; keeps the scores."""
        given = self.by_role(inputs)
        query, value = given["query"], given["value"]
        query_mask, value_mask = self.own_masks(given, masks)
        scores = self.scores(weights, query, given.get("key", value))
        where = self.allowed({}, {"value": value_mask}, query.shape[1], value.shape[1])
        if where is not None:
            scores = np.where(where, scores, scores - scores.dtype.type(65504 if scores.dtype == np.float16 else 1e9))
        found = softmax(scores)
        y = multiply(found, value)
        if query_mask is not None:
            y = np.where(query_mask[:, :, None], y, y.dtype.type(0))
        return self.result(y, found, record)

    def scores(self, weights: Mapping[str, Array], query: Array, key: Array) -> Array:
        """How each key fits each query, (batch, Tq, Tv)."""
        scale = weights.get("scale")
        if not self.sums:
            scores = multiply(query, key.swapaxes(1, 2))
            return scores if scale is None else scores * scale
        sums = query[:, :, None] + key[:, None]
        return weights["concat_score_weight"] * _summed(np.tanh(sums if scale is None else scale * sums))

    def own_masks(self, given: Mapping[str, Array], masks: Sequence[Array | None]) -> tuple[Array | None, Array | None]:
        """The masks of query and value: all of the call's own, where it has any, else those that they carry."""
        if self.makes_mask():
            return given.get("query_mask"), given.get("value_mask")
        carried = self.by_role(masks)
        return carried["query"], carried["value"]

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """That of the query."""
        mask, _ = self.own_masks(self.by_role(inputs), masks)
        return (mask, None) if self.options.get("return_attention_scores") else mask

    def makes_mask(self) -> bool:
        """Where the call has masks of its own."""
        return any(role.endswith("_mask") for role in self.options.get("roles", ()))


class AdditiveAttention(Attention):
    """softmax(Σ scale∘tanh(query + key))·value; D. Bahdanau et al., arXiv:1409.0473."""

    CLASS = "AdditiveAttention"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"use_scale": flag(True), "dropout": ANY}

    def score_weights(self, width: int) -> list[WeightSpec]:
        """A number for each feature."""
        return [self.weight("scale", (width,), "vars/0")] if self.options["use_scale"] else []

    @property
    def sums(self) -> bool:
        """Always."""
        return True

    def scores(self, weights: Mapping[str, Array], query: Array, key: Array) -> Array:
        """How each key fits each query, (batch, Tq, Tv)."""
        fits = np.tanh(query[:, :, None] + key[:, None])
        return _summed(weights["scale"] * fits if "scale" in weights else fits)


class Heads(Attending):
    """Attention of several heads, each on affine maps of query, key and value; A. Vaswani et al., arXiv:1706.03762.

    Where Keras has one function for all of it, a query that may look nowhere takes the mean of all values; where it
    has not, because of dropout or since the scores are wanted, zero.
    """

    ROLES = ("query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask")
    PUBLIC: ClassVar[Collection[str]] = ()  # maps that Keras has as public attributes, by which it names folders
    COMMON_OPTIONS: ClassVar[Mapping[str, Option]] = {
        "dropout": Option(lambda value: float(value), "a number", 0.0, listed=False),
        "use_bias": flag(True),
        "use_gate": flag(False),
        "sliding_window": optional(size()),
    }

    def counts(self) -> tuple[int, int]:
        """Heads of the query, and of key and value."""
        raise NotImplementedError

    def widths(self) -> tuple[int, int]:
        """Features of each head: of query and key, and of the value."""
        raise NotImplementedError

    def width_out(self, query: Tensor) -> int:
        """Features of the output."""
        raise NotImplementedError

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """An affine map for query, key, value, gate and output each."""
        query, value, key = self.tensors(inputs)
        (heads, few), (wide, wide_value) = self.counts(), self.widths()
        out = self.width_out(query)
        maps: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "query": ((self.width(query),), (heads, wide)),
            "key": ((self.width(key),), (few, wide)),
            **({"gate": ((self.width(query),), (heads, wide_value))} if self.options["use_gate"] else {}),
            "value": ((self.width(value),), (few, wide_value)),
            "attention_output": ((heads, wide_value), (out,)),
        }
        weights = []
        for name, (before, after) in maps.items():
            folder = f"{'' if name in self.PUBLIC else '_'}{name.removeprefix('attention_')}_dense"
            weights.append(self.weight(f"{name}/kernel", (*before, *after), f"{folder}/vars/0"))
            if self.options["use_bias"]:
                weights.append(self.weight(f"{name}/bias", after, f"{folder}/vars/1"))
        return self.attended(inputs, (None, query.shape[1], out), weights, (heads,))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """The maps of the inputs, the means, and scores of each head."""
        query, value, _ = self.tensors(inputs)
        queries, values = query.shape[1] or 0, value.shape[1] or 0
        (heads, _), (wide, wide_value) = self.counts(), self.widths()
        return heads * ((queries + values) * (wide + 2 * wide_value) + 3 * queries * values)

    def prepare(self, weights: Weights) -> Any:
        """By map: the kernel as a matrix for `product`, and the bias as a row."""
        found = {}
        for name in {name.rpartition("/")[0] for name in weights}:
            kernel, bias = self.cast(weights, f"{name}/kernel"), self.cast(weights, f"{name}/bias")
            assert kernel is not None
            features = math.prod(kernel.shape[:-1]) if name == "attention_output" else len(kernel)
            found[name] = prepare(kernel.reshape(features, -1)), None if bias is None else bias.reshape(-1)
        return found

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps the scores, (batch, heads, Tq, Tv)."""
        given = self.by_role(inputs)
        query, key, value = self.mapped(weights, given)
        where = self.where_allowed(given, masks)
        scale = np.float32(1 / math.sqrt(self.widths()[0]))  # as TensorFlow keeps it, whatever is multiplied by it
        if self.fused:
            scores = multiply(query, key.swapaxes(2, 3)).astype(np.result_type(query.dtype, np.float32), copy=False)
            scores = scores * scores.dtype.type(scale)
            if where is not None:
                scores = np.where(where, scores, scores.dtype.type(LARGE * -0.7))
            found = softmax(scores).astype(query.dtype, copy=False)
        else:
            scores = multiply(query * query.dtype.type(scale), key.swapaxes(2, 3))
            if where is not None:
                scores = np.where(where, scores, scores.dtype.type(-3e4 if scores.dtype == np.float16 else -1e9))
            found = softmax(scores)
            found = found if where is None else np.where(where, found, found.dtype.type(0))
        y = multiply(found, value).swapaxes(1, 2)  # (batch, Tq, heads, width)
        y = y.reshape(*y.shape[:2], -1)
        if "gate" in weights:
            y = y * activations.sigmoid(affine(weights["gate"], given["query"]))
        return self.result(affine(weights["attention_output"], y), found, record)

    @property
    def fused(self) -> bool:
        """Whether Keras has one function for all of it."""
        return not self.options["dropout"] and not self.options.get("return_attention_scores")

    def mapped(self, weights: Any, given: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """Query, key and value of each head, (batch, heads, T, width)."""
        heads, few = self.counts()
        query = split(affine(weights["query"], given["query"]), heads)
        key = split(affine(weights["key"], given.get("key", given["value"])), few)
        value = split(affine(weights["value"], given["value"]), few)
        if few != heads:
            key, value = (np.repeat(x, heads // few, axis=1) for x in (key, value))
        return query, key, value

    def where_allowed(self, given: Mapping[str, Array], masks: Sequence[Array | None]) -> Array | None:
        """As `allowed`, with an axis for the heads."""
        carried = self.by_role(masks)
        named = {role: given.get(f"{role}_mask", carried.get(role)) for role in ("query", "value", "key")}
        named["query"] = self.query_mask(given, carried)
        where = self.allowed(given, named, given["query"].shape[1], given["value"].shape[1])
        return None if where is None else where[:, None]

    def query_mask(self, given: Mapping[str, Array], carried: Mapping[str, Array | None]) -> Array | None:
        """The mask of the query."""
        return given.get("query_mask", carried["query"])


class MultiHeadAttention(Heads):
    """Attention of several heads over the timesteps."""

    CLASS = "MultiHeadAttention"
    PUBLIC = ("query", "key", "value", "attention_output")
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "num_heads": size(),
        "key_dim": size(),
        "value_dim": optional(size()),
        **Heads.COMMON_OPTIONS,
        "output_shape": optional(sizes_of(1)),
        "attention_axes": Option(lambda v: _over_time(v), "none or [1]", None),
    }

    def counts(self) -> tuple[int, int]:
        """The same for all."""
        return self.options["num_heads"], self.options["num_heads"]

    def widths(self) -> tuple[int, int]:
        """That of the value is that of the key, where it is not given."""
        return self.options["key_dim"], self.options["value_dim"] or self.options["key_dim"]

    def width_out(self, query: Tensor) -> int:
        """That of the query, where it is not given."""
        given = self.options["output_shape"]
        return int(given[0]) if given else self.width(query)

    def query_mask(self, given: Mapping[str, Array], carried: Mapping[str, Array | None]) -> Array | None:
        """The one that it carries, whatever the call says, as Keras has it."""
        return carried["query"]


class GroupQueryAttention(Heads):
    """Attention of several heads, groups of which share keys and values; J. Ainslie et al., arXiv:2305.13245."""

    CLASS = "GroupQueryAttention"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "head_dim": size(),
        "num_query_heads": size(),
        "num_key_value_heads": size(),
        **Heads.COMMON_OPTIONS,
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """As `Heads`; the groups are of one size."""
        heads, few = self.counts()
        query, value, _ = self.tensors(inputs)
        if heads % few:
            raise self.unsupported(f"num_key_value_heads={few} does not divide num_query_heads={heads}")
        if self.width(query) != self.width(value):
            raise self.unsupported(f"query and value differ in width: {query.shape[-1]} and {value.shape[-1]}")
        return super().build(inputs)

    def counts(self) -> tuple[int, int]:
        """Of the query, and of key and value."""
        return self.options["num_query_heads"], self.options["num_key_value_heads"]

    def widths(self) -> tuple[int, int]:
        """The same for all."""
        return self.options["head_dim"], self.options["head_dim"]

    def width_out(self, query: Tensor) -> int:
        """That of the query."""
        return self.width(query)


LARGE = 3.38953e38  # Keras's: near the largest number of single precision


def affine(weights: tuple[Array, Array | None], x: Array) -> Array:
    """x·W + b over the last axis."""
    matrix, bias = weights
    y = product(x, matrix)
    return y if bias is None else y + bias


def split(x: Array, heads: int) -> Array:
    """(batch, T, heads · width) as (batch, heads, T, width)."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def softmax(x: Array) -> Array:
    """Over the last axis; half precision is computed in single and rounded once."""
    y = activations.softmax(x.astype(np.result_type(x.dtype, np.float32), copy=False))
    return y.astype(x.dtype, copy=False)


def _summed(x: Array) -> Array:
    """Sums over the last axis; half precision is added up in single and rounded once."""
    return x.sum(axis=-1, dtype=np.result_type(x.dtype, np.float32)).astype(x.dtype, copy=False)


def _both(one: Array | None, two: Array | None) -> Array | None:
    return two if one is None else one if two is None else one & two


def _differ(one: int | None, two: int | None) -> bool:
    return one is not None and two is not None and one != two


def _over_time(value: Any) -> None:
    if value not in (None, [1]):
        raise ValueError
