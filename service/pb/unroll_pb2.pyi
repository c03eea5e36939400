import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PatchOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATCH_OPERATION_UNSPECIFIED: _ClassVar[PatchOperation]
    PATCH_OPERATION_SET: _ClassVar[PatchOperation]
    PATCH_OPERATION_ADD: _ClassVar[PatchOperation]
    PATCH_OPERATION_SCALE: _ClassVar[PatchOperation]
    PATCH_OPERATION_KEEP: _ClassVar[PatchOperation]

class GradientLoss(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRADIENT_LOSS_UNSPECIFIED: _ClassVar[GradientLoss]
    GRADIENT_LOSS_MEAN_SQUARED_ERROR: _ClassVar[GradientLoss]
    GRADIENT_LOSS_BINARY_CROSSENTROPY: _ClassVar[GradientLoss]
    GRADIENT_LOSS_CATEGORICAL_CROSSENTROPY: _ClassVar[GradientLoss]

class GradientBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRADIENT_BY_UNSPECIFIED: _ClassVar[GradientBy]
    GRADIENT_BY_INPUTS: _ClassVar[GradientBy]
    GRADIENT_BY_INITIAL_STATE: _ClassVar[GradientBy]
    GRADIENT_BY_STATES: _ClassVar[GradientBy]
    GRADIENT_BY_PRE_ACTIVATIONS: _ClassVar[GradientBy]
    GRADIENT_BY_WEIGHTS: _ClassVar[GradientBy]

class AttributionMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTRIBUTION_METHOD_UNSPECIFIED: _ClassVar[AttributionMethod]
    ATTRIBUTION_METHOD_GRADIENT_INPUT: _ClassVar[AttributionMethod]
    ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS: _ClassVar[AttributionMethod]
    ATTRIBUTION_METHOD_OCCLUDE_TIMESTEPS: _ClassVar[AttributionMethod]
    ATTRIBUTION_METHOD_OCCLUDE_FEATURES: _ClassVar[AttributionMethod]
    ATTRIBUTION_METHOD_ABLATE_UNITS: _ClassVar[AttributionMethod]

class Baseline(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BASELINE_UNSPECIFIED: _ClassVar[Baseline]
    BASELINE_ZEROS: _ClassVar[Baseline]
    BASELINE_GIVEN: _ClassVar[Baseline]
    BASELINE_TRAINING_MEAN: _ClassVar[Baseline]

class WeightView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHT_VIEW_UNSPECIFIED: _ClassVar[WeightView]
    WEIGHT_VIEW_BASIC: _ClassVar[WeightView]
    WEIGHT_VIEW_FULL: _ClassVar[WeightView]

class ModelChange(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_CHANGE_UNSPECIFIED: _ClassVar[ModelChange]
    MODEL_CHANGE_INITIAL: _ClassVar[ModelChange]
    MODEL_CHANGE_TRAINED: _ClassVar[ModelChange]
    MODEL_CHANGE_OVERRIDDEN: _ClassVar[ModelChange]
    MODEL_CHANGE_MOVED_BACK: _ClassVar[ModelChange]
    MODEL_CHANGE_OTHER: _ClassVar[ModelChange]

class Proof(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROOF_UNSPECIFIED: _ClassVar[Proof]
    PROOF_NONE: _ClassVar[Proof]
    PROOF_KERAS: _ClassVar[Proof]
    PROOF_DERIVED: _ClassVar[Proof]

class VersionOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_ORIGIN_UNSPECIFIED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_OTHER: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_TRAINED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_OVERRIDE: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_REGISTERED: _ClassVar[VersionOrigin]

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]
    DATA_TYPE_STRING: _ClassVar[DataType]

class TensorEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TENSOR_ENCODING_UNSPECIFIED: _ClassVar[TensorEncoding]
    TENSOR_ENCODING_VALUES: _ClassVar[TensorEncoding]
    TENSOR_ENCODING_RAW: _ClassVar[TensorEncoding]

class WeightOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHT_OPERATION_UNSPECIFIED: _ClassVar[WeightOperation]
    WEIGHT_OPERATION_SET: _ClassVar[WeightOperation]
    WEIGHT_OPERATION_ADD: _ClassVar[WeightOperation]
    WEIGHT_OPERATION_SCALE: _ClassVar[WeightOperation]
PATCH_OPERATION_UNSPECIFIED: PatchOperation
PATCH_OPERATION_SET: PatchOperation
PATCH_OPERATION_ADD: PatchOperation
PATCH_OPERATION_SCALE: PatchOperation
PATCH_OPERATION_KEEP: PatchOperation
GRADIENT_LOSS_UNSPECIFIED: GradientLoss
GRADIENT_LOSS_MEAN_SQUARED_ERROR: GradientLoss
GRADIENT_LOSS_BINARY_CROSSENTROPY: GradientLoss
GRADIENT_LOSS_CATEGORICAL_CROSSENTROPY: GradientLoss
GRADIENT_BY_UNSPECIFIED: GradientBy
GRADIENT_BY_INPUTS: GradientBy
GRADIENT_BY_INITIAL_STATE: GradientBy
GRADIENT_BY_STATES: GradientBy
GRADIENT_BY_PRE_ACTIVATIONS: GradientBy
GRADIENT_BY_WEIGHTS: GradientBy
ATTRIBUTION_METHOD_UNSPECIFIED: AttributionMethod
ATTRIBUTION_METHOD_GRADIENT_INPUT: AttributionMethod
ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS: AttributionMethod
ATTRIBUTION_METHOD_OCCLUDE_TIMESTEPS: AttributionMethod
ATTRIBUTION_METHOD_OCCLUDE_FEATURES: AttributionMethod
ATTRIBUTION_METHOD_ABLATE_UNITS: AttributionMethod
BASELINE_UNSPECIFIED: Baseline
BASELINE_ZEROS: Baseline
BASELINE_GIVEN: Baseline
BASELINE_TRAINING_MEAN: Baseline
WEIGHT_VIEW_UNSPECIFIED: WeightView
WEIGHT_VIEW_BASIC: WeightView
WEIGHT_VIEW_FULL: WeightView
MODEL_CHANGE_UNSPECIFIED: ModelChange
MODEL_CHANGE_INITIAL: ModelChange
MODEL_CHANGE_TRAINED: ModelChange
MODEL_CHANGE_OVERRIDDEN: ModelChange
MODEL_CHANGE_MOVED_BACK: ModelChange
MODEL_CHANGE_OTHER: ModelChange
PROOF_UNSPECIFIED: Proof
PROOF_NONE: Proof
PROOF_KERAS: Proof
PROOF_DERIVED: Proof
VERSION_ORIGIN_UNSPECIFIED: VersionOrigin
VERSION_ORIGIN_OTHER: VersionOrigin
VERSION_ORIGIN_TRAINED: VersionOrigin
VERSION_ORIGIN_OVERRIDE: VersionOrigin
VERSION_ORIGIN_REGISTERED: VersionOrigin
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_BOOL: DataType
DATA_TYPE_STRING: DataType
TENSOR_ENCODING_UNSPECIFIED: TensorEncoding
TENSOR_ENCODING_VALUES: TensorEncoding
TENSOR_ENCODING_RAW: TensorEncoding
WEIGHT_OPERATION_UNSPECIFIED: WeightOperation
WEIGHT_OPERATION_SET: WeightOperation
WEIGHT_OPERATION_ADD: WeightOperation
WEIGHT_OPERATION_SCALE: WeightOperation

class PredictRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "initial_state", "return_state", "what_if", "encoding", "patches", "levels", "top_classes", "recent_errors")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    RETURN_STATE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    TOP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    RECENT_ERRORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    return_state: bool
    what_if: _containers.RepeatedCompositeFieldContainer[WeightChange]
    encoding: TensorEncoding
    patches: _containers.RepeatedCompositeFieldContainer[Patch]
    levels: _containers.RepeatedScalarFieldContainer[float]
    top_classes: int
    recent_errors: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., return_state: bool = ..., what_if: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ..., patches: _Optional[_Iterable[_Union[Patch, _Mapping]]] = ..., levels: _Optional[_Iterable[float]] = ..., top_classes: _Optional[int] = ..., recent_errors: _Optional[_Iterable[float]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("model", "version", "outputs", "final_state", "what_if", "patched", "intervals", "top_classes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FINAL_STATE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    TOP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    final_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    what_if: bool
    patched: bool
    intervals: _containers.RepeatedCompositeFieldContainer[Interval]
    top_classes: _containers.RepeatedCompositeFieldContainer[TopClasses]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., final_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ..., intervals: _Optional[_Iterable[_Union[Interval, _Mapping]]] = ..., top_classes: _Optional[_Iterable[_Union[TopClasses, _Mapping]]] = ...) -> None: ...

class TopClasses(_message.Message):
    __slots__ = ("output", "shape", "classes")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    output: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    classes: _containers.RepeatedCompositeFieldContainer[ClassScore]
    def __init__(self, output: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., classes: _Optional[_Iterable[_Union[ClassScore, _Mapping]]] = ...) -> None: ...

class ClassScore(_message.Message):
    __slots__ = ("label", "index", "score")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    score: float
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("level", "lower", "upper")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    level: float
    lower: Tensor
    upper: Tensor
    def __init__(self, level: _Optional[float] = ..., lower: _Optional[_Union[Tensor, _Mapping]] = ..., upper: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class PredictStreamRequest(_message.Message):
    __slots__ = ("options", "inputs")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    options: StreamOptions
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, options: _Optional[_Union[StreamOptions, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class StreamOptions(_message.Message):
    __slots__ = ("model", "version", "initial_state", "return_state", "what_if", "follow", "encoding", "patches")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    RETURN_STATE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    return_state: bool
    what_if: _containers.RepeatedCompositeFieldContainer[WeightChange]
    follow: bool
    encoding: TensorEncoding
    patches: _containers.RepeatedCompositeFieldContainer[Patch]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., return_state: bool = ..., what_if: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., follow: bool = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ..., patches: _Optional[_Iterable[_Union[Patch, _Mapping]]] = ...) -> None: ...

class PredictStreamResponse(_message.Message):
    __slots__ = ("model", "version", "outputs", "final_state", "what_if", "timesteps", "version_changed", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FINAL_STATE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_CHANGED_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    final_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    what_if: bool
    timesteps: int
    version_changed: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., final_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., what_if: bool = ..., timesteps: _Optional[int] = ..., version_changed: bool = ..., patched: bool = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "version", "prompt", "length", "temperature", "top_k", "seed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    prompt: str
    length: int
    temperature: float
    top_k: int
    seed: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., prompt: _Optional[str] = ..., length: _Optional[int] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("model", "version", "text", "probability", "seed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    text: str
    probability: float
    seed: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., text: _Optional[str] = ..., probability: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "initial_state", "layers", "what_if", "encoding", "patches", "sums", "tensors", "timesteps")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    layers: _containers.RepeatedScalarFieldContainer[str]
    what_if: _containers.RepeatedCompositeFieldContainer[WeightChange]
    encoding: TensorEncoding
    patches: _containers.RepeatedCompositeFieldContainer[Patch]
    sums: _containers.RepeatedCompositeFieldContainer[SumRequest]
    tensors: _containers.RepeatedScalarFieldContainer[str]
    timesteps: IndexRange
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., layers: _Optional[_Iterable[str]] = ..., what_if: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ..., patches: _Optional[_Iterable[_Union[Patch, _Mapping]]] = ..., sums: _Optional[_Iterable[_Union[SumRequest, _Mapping]]] = ..., tensors: _Optional[_Iterable[str]] = ..., timesteps: _Optional[_Union[IndexRange, _Mapping]] = ...) -> None: ...

class SumRequest(_message.Message):
    __slots__ = ("layer", "sequence", "timestep", "column")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    layer: str
    sequence: int
    timestep: int
    column: int
    def __init__(self, layer: _Optional[str] = ..., sequence: _Optional[int] = ..., timestep: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class TraceResponse(_message.Message):
    __slots__ = ("model", "version", "layers", "outputs", "what_if", "patched", "sums")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerTrace]
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    what_if: bool
    patched: bool
    sums: _containers.RepeatedCompositeFieldContainer[WrittenSum]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerTrace, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ..., sums: _Optional[_Iterable[_Union[WrittenSum, _Mapping]]] = ...) -> None: ...

class WrittenSum(_message.Message):
    __slots__ = ("layer", "sequence", "timestep", "column", "terms", "total")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    layer: str
    sequence: int
    timestep: int
    column: int
    terms: _containers.RepeatedCompositeFieldContainer[SumTerm]
    total: float
    def __init__(self, layer: _Optional[str] = ..., sequence: _Optional[int] = ..., timestep: _Optional[int] = ..., column: _Optional[int] = ..., terms: _Optional[_Iterable[_Union[SumTerm, _Mapping]]] = ..., total: _Optional[float] = ...) -> None: ...

class SumTerm(_message.Message):
    __slots__ = ("source", "weight", "value", "weight_value", "gate", "product")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_VALUE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    source: str
    weight: str
    value: float
    weight_value: float
    gate: float
    product: float
    def __init__(self, source: _Optional[str] = ..., weight: _Optional[str] = ..., value: _Optional[float] = ..., weight_value: _Optional[float] = ..., gate: _Optional[float] = ..., product: _Optional[float] = ...) -> None: ...

class LayerTrace(_message.Message):
    __slots__ = ("layer", "class_name", "tensors")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    layer: str
    class_name: str
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, layer: _Optional[str] = ..., class_name: _Optional[str] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class Patch(_message.Message):
    __slots__ = ("layer", "tensor", "operation", "value", "sequences", "timesteps", "units")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    layer: str
    tensor: str
    operation: PatchOperation
    value: Tensor
    sequences: IndexRange
    timesteps: IndexRange
    units: IndexRange
    def __init__(self, layer: _Optional[str] = ..., tensor: _Optional[str] = ..., operation: _Optional[_Union[PatchOperation, str]] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ..., sequences: _Optional[_Union[IndexRange, _Mapping]] = ..., timesteps: _Optional[_Union[IndexRange, _Mapping]] = ..., units: _Optional[_Union[IndexRange, _Mapping]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("model", "version", "inputs", "initial_state", "what_if", "patches")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    what_if: _containers.RepeatedCompositeFieldContainer[WeightChange]
    patches: _containers.RepeatedCompositeFieldContainer[Patch]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., what_if: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., patches: _Optional[_Iterable[_Union[Patch, _Mapping]]] = ...) -> None: ...

class GradientTarget(_message.Message):
    __slots__ = ("output", "timestep", "element", "direction", "loss", "expected")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    output: str
    timestep: int
    element: int
    direction: Tensor
    loss: GradientLoss
    expected: Tensor
    def __init__(self, output: _Optional[str] = ..., timestep: _Optional[int] = ..., element: _Optional[int] = ..., direction: _Optional[_Union[Tensor, _Mapping]] = ..., loss: _Optional[_Union[GradientLoss, str]] = ..., expected: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class GradientsRequest(_message.Message):
    __slots__ = ("subject", "target", "by", "encoding")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    subject: Subject
    target: GradientTarget
    by: _containers.RepeatedScalarFieldContainer[GradientBy]
    encoding: TensorEncoding
    def __init__(self, subject: _Optional[_Union[Subject, _Mapping]] = ..., target: _Optional[_Union[GradientTarget, _Mapping]] = ..., by: _Optional[_Iterable[_Union[GradientBy, str]]] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ...) -> None: ...

class GradientsResponse(_message.Message):
    __slots__ = ("model", "version", "value", "inputs", "embedded", "initial_state", "layers", "weights", "what_if", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    value: Tensor
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    embedded: _containers.RepeatedCompositeFieldContainer[Tensor]
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    layers: _containers.RepeatedCompositeFieldContainer[LayerTrace]
    weights: _containers.RepeatedCompositeFieldContainer[Tensor]
    what_if: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., embedded: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., layers: _Optional[_Iterable[_Union[LayerTrace, _Mapping]]] = ..., weights: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ...) -> None: ...

class AttributeRequest(_message.Message):
    __slots__ = ("subject", "target", "method", "baseline", "baseline_values", "points", "encoding")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_VALUES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    subject: Subject
    target: GradientTarget
    method: AttributionMethod
    baseline: Baseline
    baseline_values: _containers.RepeatedCompositeFieldContainer[Tensor]
    points: int
    encoding: TensorEncoding
    def __init__(self, subject: _Optional[_Union[Subject, _Mapping]] = ..., target: _Optional[_Union[GradientTarget, _Mapping]] = ..., method: _Optional[_Union[AttributionMethod, str]] = ..., baseline: _Optional[_Union[Baseline, str]] = ..., baseline_values: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., points: _Optional[int] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ...) -> None: ...

class AttributeResponse(_message.Message):
    __slots__ = ("model", "version", "value", "baseline_value", "scores", "residual", "what_if", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_VALUE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    value: Tensor
    baseline_value: Tensor
    scores: _containers.RepeatedCompositeFieldContainer[Tensor]
    residual: _containers.RepeatedScalarFieldContainer[float]
    what_if: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ..., baseline_value: _Optional[_Union[Tensor, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., residual: _Optional[_Iterable[float]] = ..., what_if: bool = ..., patched: bool = ...) -> None: ...

class RememberRequest(_message.Message):
    __slots__ = ("subject", "layers")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    subject: Subject
    layers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, subject: _Optional[_Union[Subject, _Mapping]] = ..., layers: _Optional[_Iterable[str]] = ...) -> None: ...

class RememberResponse(_message.Message):
    __slots__ = ("model", "version", "layers", "what_if", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerMemory]
    what_if: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerMemory, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ...) -> None: ...

class LayerMemory(_message.Message):
    __slots__ = ("layer", "class_name", "by_states", "by_inputs", "horizons", "spectral_radius")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    BY_STATES_FIELD_NUMBER: _ClassVar[int]
    BY_INPUTS_FIELD_NUMBER: _ClassVar[int]
    HORIZONS_FIELD_NUMBER: _ClassVar[int]
    SPECTRAL_RADIUS_FIELD_NUMBER: _ClassVar[int]
    layer: str
    class_name: str
    by_states: _containers.RepeatedScalarFieldContainer[float]
    by_inputs: _containers.RepeatedScalarFieldContainer[float]
    horizons: _containers.RepeatedScalarFieldContainer[int]
    spectral_radius: float
    def __init__(self, layer: _Optional[str] = ..., class_name: _Optional[str] = ..., by_states: _Optional[_Iterable[float]] = ..., by_inputs: _Optional[_Iterable[float]] = ..., horizons: _Optional[_Iterable[int]] = ..., spectral_radius: _Optional[float] = ...) -> None: ...

class FindFixedPointsRequest(_message.Message):
    __slots__ = ("subject", "layer", "held_input", "starts", "timesteps")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    HELD_INPUT_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    subject: Subject
    layer: str
    held_input: Tensor
    starts: int
    timesteps: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, subject: _Optional[_Union[Subject, _Mapping]] = ..., layer: _Optional[str] = ..., held_input: _Optional[_Union[Tensor, _Mapping]] = ..., starts: _Optional[int] = ..., timesteps: _Optional[_Iterable[int]] = ...) -> None: ...

class FindFixedPointsResponse(_message.Message):
    __slots__ = ("model", "version", "layer", "class_name", "held_input", "points", "lost", "along", "what_if", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    HELD_INPUT_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    ALONG_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    layer: str
    class_name: str
    held_input: Tensor
    points: _containers.RepeatedCompositeFieldContainer[FixedPoint]
    lost: int
    along: _containers.RepeatedCompositeFieldContainer[StepModes]
    what_if: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., layer: _Optional[str] = ..., class_name: _Optional[str] = ..., held_input: _Optional[_Union[Tensor, _Mapping]] = ..., points: _Optional[_Iterable[_Union[FixedPoint, _Mapping]]] = ..., lost: _Optional[int] = ..., along: _Optional[_Iterable[_Union[StepModes, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ...) -> None: ...

class FixedPoint(_message.Message):
    __slots__ = ("state", "stable", "starts", "speed", "modes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    state: _containers.RepeatedScalarFieldContainer[float]
    stable: bool
    starts: int
    speed: float
    modes: _containers.RepeatedCompositeFieldContainer[Mode]
    def __init__(self, state: _Optional[_Iterable[float]] = ..., stable: bool = ..., starts: _Optional[int] = ..., speed: _Optional[float] = ..., modes: _Optional[_Iterable[_Union[Mode, _Mapping]]] = ...) -> None: ...

class StepModes(_message.Message):
    __slots__ = ("timestep", "modes")
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    timestep: int
    modes: _containers.RepeatedCompositeFieldContainer[Mode]
    def __init__(self, timestep: _Optional[int] = ..., modes: _Optional[_Iterable[_Union[Mode, _Mapping]]] = ...) -> None: ...

class Mode(_message.Message):
    __slots__ = ("real", "imaginary", "modulus", "time_constant", "period")
    REAL_FIELD_NUMBER: _ClassVar[int]
    IMAGINARY_FIELD_NUMBER: _ClassVar[int]
    MODULUS_FIELD_NUMBER: _ClassVar[int]
    TIME_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    real: float
    imaginary: float
    modulus: float
    time_constant: float
    period: float
    def __init__(self, real: _Optional[float] = ..., imaginary: _Optional[float] = ..., modulus: _Optional[float] = ..., time_constant: _Optional[float] = ..., period: _Optional[float] = ...) -> None: ...

class SummarizeRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "report", "what_if", "patches", "initial_state")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    report: bool
    what_if: _containers.RepeatedCompositeFieldContainer[WeightChange]
    patches: _containers.RepeatedCompositeFieldContainer[Patch]
    initial_state: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., report: bool = ..., what_if: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., patches: _Optional[_Iterable[_Union[Patch, _Mapping]]] = ..., initial_state: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class SummarizeResponse(_message.Message):
    __slots__ = ("model", "version", "sequences", "timesteps", "tensors", "what_if", "patched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    sequences: int
    timesteps: int
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSummary]
    what_if: bool
    patched: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., sequences: _Optional[int] = ..., timesteps: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[TensorSummary, _Mapping]]] = ..., what_if: bool = ..., patched: bool = ...) -> None: ...

class TensorSummary(_message.Message):
    __slots__ = ("layer", "class_name", "tensor", "count", "mean", "standard_deviation", "min", "max", "low", "high", "histogram", "bins", "saturated", "dead")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    SATURATED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    layer: str
    class_name: str
    tensor: str
    count: int
    mean: _containers.RepeatedScalarFieldContainer[float]
    standard_deviation: _containers.RepeatedScalarFieldContainer[float]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    low: float
    high: float
    histogram: _containers.RepeatedScalarFieldContainer[int]
    bins: int
    saturated: _containers.RepeatedScalarFieldContainer[float]
    dead: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, layer: _Optional[str] = ..., class_name: _Optional[str] = ..., tensor: _Optional[str] = ..., count: _Optional[int] = ..., mean: _Optional[_Iterable[float]] = ..., standard_deviation: _Optional[_Iterable[float]] = ..., min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., histogram: _Optional[_Iterable[int]] = ..., bins: _Optional[int] = ..., saturated: _Optional[_Iterable[float]] = ..., dead: _Optional[_Iterable[bool]] = ...) -> None: ...

class GetWeightsRequest(_message.Message):
    __slots__ = ("model", "version", "view", "weights", "encoding")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    view: WeightView
    weights: _containers.RepeatedScalarFieldContainer[str]
    encoding: TensorEncoding
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., view: _Optional[_Union[WeightView, str]] = ..., weights: _Optional[_Iterable[str]] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ...) -> None: ...

class GetWeightsResponse(_message.Message):
    __slots__ = ("model", "version", "digest", "weights")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    digest: str
    weights: _containers.RepeatedCompositeFieldContainer[Weight]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., weights: _Optional[_Iterable[_Union[Weight, _Mapping]]] = ...) -> None: ...

class Weight(_message.Message):
    __slots__ = ("name", "data_type", "shape", "statistics", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    statistics: WeightStatistics
    value: Tensor
    def __init__(self, name: _Optional[str] = ..., data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., statistics: _Optional[_Union[WeightStatistics, _Mapping]] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class WeightStatistics(_message.Message):
    __slots__ = ("min", "max", "mean", "standard_deviation", "l2_norm", "zeros", "non_finite", "spectral_radius", "largest_singular_value", "note")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    L2_NORM_FIELD_NUMBER: _ClassVar[int]
    ZEROS_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    SPECTRAL_RADIUS_FIELD_NUMBER: _ClassVar[int]
    LARGEST_SINGULAR_VALUE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    mean: float
    standard_deviation: float
    l2_norm: float
    zeros: int
    non_finite: int
    spectral_radius: _containers.RepeatedScalarFieldContainer[float]
    largest_singular_value: float
    note: str
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ..., mean: _Optional[float] = ..., standard_deviation: _Optional[float] = ..., l2_norm: _Optional[float] = ..., zeros: _Optional[int] = ..., non_finite: _Optional[int] = ..., spectral_radius: _Optional[_Iterable[float]] = ..., largest_singular_value: _Optional[float] = ..., note: _Optional[str] = ...) -> None: ...

class CompareWeightsRequest(_message.Message):
    __slots__ = ("model", "base_version", "version", "weights", "view", "encoding")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    model: str
    base_version: str
    version: str
    weights: _containers.RepeatedScalarFieldContainer[str]
    view: WeightView
    encoding: TensorEncoding
    def __init__(self, model: _Optional[str] = ..., base_version: _Optional[str] = ..., version: _Optional[str] = ..., weights: _Optional[_Iterable[str]] = ..., view: _Optional[_Union[WeightView, str]] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ...) -> None: ...

class CompareWeightsResponse(_message.Message):
    __slots__ = ("model", "base_version", "version", "differences", "only_in_base", "only_in_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ONLY_IN_BASE_FIELD_NUMBER: _ClassVar[int]
    ONLY_IN_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    base_version: str
    version: str
    differences: _containers.RepeatedCompositeFieldContainer[WeightDifference]
    only_in_base: _containers.RepeatedScalarFieldContainer[str]
    only_in_version: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., base_version: _Optional[str] = ..., version: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[WeightDifference, _Mapping]]] = ..., only_in_base: _Optional[_Iterable[str]] = ..., only_in_version: _Optional[_Iterable[str]] = ...) -> None: ...

class WeightDifference(_message.Message):
    __slots__ = ("name", "max_change", "mean_change", "relative_norm", "cosine", "changed", "difference")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_CHANGE_FIELD_NUMBER: _ClassVar[int]
    MEAN_CHANGE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_NORM_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    max_change: float
    mean_change: float
    relative_norm: float
    cosine: float
    changed: int
    difference: Tensor
    def __init__(self, name: _Optional[str] = ..., max_change: _Optional[float] = ..., mean_change: _Optional[float] = ..., relative_norm: _Optional[float] = ..., cosine: _Optional[float] = ..., changed: _Optional[int] = ..., difference: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class OverrideWeightsRequest(_message.Message):
    __slots__ = ("model", "alias", "changes", "expected_version", "expected_digest", "reason", "actor", "keep_alias", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIAS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    changes: _containers.RepeatedCompositeFieldContainer[WeightChange]
    expected_version: str
    expected_digest: str
    reason: str
    actor: str
    keep_alias: bool
    request_id: str
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[WeightChange, _Mapping]]] = ..., expected_version: _Optional[str] = ..., expected_digest: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., keep_alias: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class OverrideWeightsResponse(_message.Message):
    __slots__ = ("model", "version", "base_version", "digest", "alias", "changed_weights")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    base_version: str
    digest: str
    alias: str
    changed_weights: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., base_version: _Optional[str] = ..., digest: _Optional[str] = ..., alias: _Optional[str] = ..., changed_weights: _Optional[_Iterable[str]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("model", "versions", "next_page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    versions: _containers.RepeatedCompositeFieldContainer[RegisteredVersion]
    next_page_token: str
    def __init__(self, model: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[RegisteredVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RegisteredVersion(_message.Message):
    __slots__ = ("version", "aliases", "origin", "base_version", "changed_weights", "actor", "reason", "created_time", "proof", "digest", "gate", "loaded", "refusal", "moves")
    class MovesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    version: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    origin: VersionOrigin
    base_version: str
    changed_weights: _containers.RepeatedScalarFieldContainer[str]
    actor: str
    reason: str
    created_time: _timestamp_pb2.Timestamp
    proof: Proof
    digest: str
    gate: GateFigures
    loaded: bool
    refusal: str
    moves: _containers.ScalarMap[str, str]
    def __init__(self, version: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., origin: _Optional[_Union[VersionOrigin, str]] = ..., base_version: _Optional[str] = ..., changed_weights: _Optional[_Iterable[str]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., proof: _Optional[_Union[Proof, str]] = ..., digest: _Optional[str] = ..., gate: _Optional[_Union[GateFigures, _Mapping]] = ..., loaded: bool = ..., refusal: _Optional[str] = ..., moves: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GateFigures(_message.Message):
    __slots__ = ("metric", "error", "baseline", "baseline_error", "champion_version", "champion_error", "decision", "decision_reason")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_ERROR_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_ERROR_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    DECISION_REASON_FIELD_NUMBER: _ClassVar[int]
    metric: str
    error: float
    baseline: str
    baseline_error: float
    champion_version: str
    champion_error: float
    decision: str
    decision_reason: str
    def __init__(self, metric: _Optional[str] = ..., error: _Optional[float] = ..., baseline: _Optional[str] = ..., baseline_error: _Optional[float] = ..., champion_version: _Optional[str] = ..., champion_error: _Optional[float] = ..., decision: _Optional[str] = ..., decision_reason: _Optional[str] = ...) -> None: ...

class GetExamplesRequest(_message.Message):
    __slots__ = ("model", "version", "sequences", "encoding")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    sequences: int
    encoding: TensorEncoding
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., sequences: _Optional[int] = ..., encoding: _Optional[_Union[TensorEncoding, str]] = ...) -> None: ...

class GetExamplesResponse(_message.Message):
    __slots__ = ("model", "version", "inputs", "sequences", "columns", "target", "classes", "window", "horizon", "step", "targets")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    sequences: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    target: Column
    classes: _containers.RepeatedScalarFieldContainer[str]
    window: int
    horizon: int
    step: float
    targets: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., sequences: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., target: _Optional[_Union[Column, _Mapping]] = ..., classes: _Optional[_Iterable[str]] = ..., window: _Optional[int] = ..., horizon: _Optional[int] = ..., step: _Optional[float] = ..., targets: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "unit", "min", "max")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    min: float
    max: float
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class GetServerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerResponse(_message.Message):
    __slots__ = ("version", "caller", "known_by", "roles", "models", "limits", "features")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_BY_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    version: str
    caller: str
    known_by: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    limits: ServerLimits
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., caller: _Optional[str] = ..., known_by: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[ServerLimits, _Mapping]] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerLimits(_message.Message):
    __slots__ = ("message_bytes", "batch", "timesteps", "elements", "computed", "changes", "streams", "stream_idle_seconds", "stream_seconds")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    STREAM_IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STREAM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    message_bytes: int
    batch: int
    timesteps: int
    elements: int
    computed: int
    changes: int
    streams: int
    stream_idle_seconds: float
    stream_seconds: float
    def __init__(self, message_bytes: _Optional[int] = ..., batch: _Optional[int] = ..., timesteps: _Optional[int] = ..., elements: _Optional[int] = ..., computed: _Optional[int] = ..., changes: _Optional[int] = ..., streams: _Optional[int] = ..., stream_idle_seconds: _Optional[float] = ..., stream_seconds: _Optional[float] = ...) -> None: ...

class MoveAliasRequest(_message.Message):
    __slots__ = ("model", "alias", "version", "expected_version", "reason", "actor", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    version: str
    expected_version: str
    reason: str
    actor: str
    request_id: str
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., version: _Optional[str] = ..., expected_version: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class MoveAliasResponse(_message.Message):
    __slots__ = ("model", "alias", "version", "previous_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    version: str
    previous_version: str
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., version: _Optional[str] = ..., previous_version: _Optional[str] = ...) -> None: ...

class WatchModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class WatchModelResponse(_message.Message):
    __slots__ = ("change", "model", "previous_version", "actor", "reason")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    change: ModelChange
    model: Model
    previous_version: str
    actor: str
    reason: str
    def __init__(self, change: _Optional[_Union[ModelChange, str]] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., previous_version: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "references", "default_version", "default_alias", "aliases", "versions", "stale_reason", "confirmed_time")
    class AliasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ALIAS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STALE_REASON_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    references: _containers.RepeatedScalarFieldContainer[str]
    default_version: str
    default_alias: str
    aliases: _containers.ScalarMap[str, str]
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    stale_reason: str
    confirmed_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., references: _Optional[_Iterable[str]] = ..., default_version: _Optional[str] = ..., default_alias: _Optional[str] = ..., aliases: _Optional[_Mapping[str, str]] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., stale_reason: _Optional[str] = ..., confirmed_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DataLayout(_message.Message):
    __slots__ = ("features", "target", "window", "horizon", "classes", "time", "group", "missing", "gaps", "step", "targets", "calendar", "zone", "categories", "future", "static", "format", "text", "unit")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CALENDAR_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    FUTURE_FIELD_NUMBER: _ClassVar[int]
    STATIC_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    target: str
    window: int
    horizon: int
    classes: _containers.RepeatedScalarFieldContainer[str]
    time: str
    group: str
    missing: str
    gaps: str
    step: float
    targets: _containers.RepeatedScalarFieldContainer[str]
    calendar: _containers.RepeatedScalarFieldContainer[str]
    zone: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    future: _containers.RepeatedScalarFieldContainer[str]
    static: _containers.RepeatedScalarFieldContainer[str]
    format: TableFormat
    text: str
    unit: str
    def __init__(self, features: _Optional[_Iterable[str]] = ..., target: _Optional[str] = ..., window: _Optional[int] = ..., horizon: _Optional[int] = ..., classes: _Optional[_Iterable[str]] = ..., time: _Optional[str] = ..., group: _Optional[str] = ..., missing: _Optional[str] = ..., gaps: _Optional[str] = ..., step: _Optional[float] = ..., targets: _Optional[_Iterable[str]] = ..., calendar: _Optional[_Iterable[str]] = ..., zone: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., future: _Optional[_Iterable[str]] = ..., static: _Optional[_Iterable[str]] = ..., format: _Optional[_Union[TableFormat, _Mapping]] = ..., text: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class TableFormat(_message.Message):
    __slots__ = ("delimiter", "decimal", "time_format", "duplicates")
    DELIMITER_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    TIME_FORMAT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    delimiter: str
    decimal: str
    time_format: str
    duplicates: str
    def __init__(self, delimiter: _Optional[str] = ..., decimal: _Optional[str] = ..., time_format: _Optional[str] = ..., duplicates: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("version", "digest", "proof", "proof_error", "origin", "base_version", "changed_weights", "actor", "reason", "created_time", "inputs", "outputs", "states", "layers", "parameter_count", "interval_levels", "data", "engine", "streamable", "notes", "gradients_proven", "gradient_error", "adaptive_intervals")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    PROOF_ERROR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_LEVELS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    STREAMABLE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_PROVEN_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ERROR_FIELD_NUMBER: _ClassVar[int]
    ADAPTIVE_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    version: str
    digest: str
    proof: Proof
    proof_error: float
    origin: VersionOrigin
    base_version: str
    changed_weights: _containers.RepeatedScalarFieldContainer[str]
    actor: str
    reason: str
    created_time: _timestamp_pb2.Timestamp
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    states: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    parameter_count: int
    interval_levels: _containers.RepeatedScalarFieldContainer[float]
    data: DataLayout
    engine: str
    streamable: bool
    notes: _containers.RepeatedScalarFieldContainer[str]
    gradients_proven: bool
    gradient_error: float
    adaptive_intervals: AdaptiveIntervals
    def __init__(self, version: _Optional[str] = ..., digest: _Optional[str] = ..., proof: _Optional[_Union[Proof, str]] = ..., proof_error: _Optional[float] = ..., origin: _Optional[_Union[VersionOrigin, str]] = ..., base_version: _Optional[str] = ..., changed_weights: _Optional[_Iterable[str]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., states: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., parameter_count: _Optional[int] = ..., interval_levels: _Optional[_Iterable[float]] = ..., data: _Optional[_Union[DataLayout, _Mapping]] = ..., engine: _Optional[str] = ..., streamable: bool = ..., notes: _Optional[_Iterable[str]] = ..., gradients_proven: bool = ..., gradient_error: _Optional[float] = ..., adaptive_intervals: _Optional[_Union[AdaptiveIntervals, _Mapping]] = ...) -> None: ...

class AdaptiveIntervals(_message.Message):
    __slots__ = ("forecasts", "levels")
    FORECASTS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    forecasts: int
    levels: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, forecasts: _Optional[int] = ..., levels: _Optional[_Iterable[float]] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "class_name", "output_shape", "parameter_count", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    class_name: str
    output_shape: _containers.RepeatedScalarFieldContainer[int]
    parameter_count: int
    options: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., class_name: _Optional[str] = ..., output_shape: _Optional[_Iterable[int]] = ..., parameter_count: _Optional[int] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "data_type", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "data_type", "shape", "values", "raw", "strings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    raw: bytes
    strings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[float]] = ..., raw: _Optional[bytes] = ..., strings: _Optional[_Iterable[str]] = ...) -> None: ...

class WeightChange(_message.Message):
    __slots__ = ("weight", "operation", "ranges", "value")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    weight: str
    operation: WeightOperation
    ranges: _containers.RepeatedCompositeFieldContainer[IndexRange]
    value: Tensor
    def __init__(self, weight: _Optional[str] = ..., operation: _Optional[_Union[WeightOperation, str]] = ..., ranges: _Optional[_Iterable[_Union[IndexRange, _Mapping]]] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class IndexRange(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...
