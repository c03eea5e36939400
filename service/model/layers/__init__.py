"""The table of supported layers, and the construction of a layer from its config."""

from typing import Any

from service.errors import UnsupportedModelError
from service.model.layers.attention import AdditiveAttention, Attention, GroupQueryAttention, MultiHeadAttention
from service.model.layers.base import Layer
from service.model.layers.categories import CategoryEncoding, Discretization, Hashing, IntegerLookup, StringLookup
from service.model.layers.config import COMMON, check_composed, layer_policy, unwrap
from service.model.layers.conv_lstm import ConvLSTM1D
from service.model.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from service.model.layers.dense import Dense
from service.model.layers.einsum import EinsumDense
from service.model.layers.elementwise import (
    ELU,
    Activation,
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Identity,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
    SpatialDropout1D,
)
from service.model.layers.embedding import Embedding, Masking
from service.model.layers.frames import (
    AveragePooling2D,
    Conv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from service.model.layers.merge import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract
from service.model.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from service.model.layers.options import parse, shown
from service.model.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from service.model.layers.separable import Conv1DTranspose, DepthwiseConv1D, SeparableConv1D
from service.model.layers.shape import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from service.model.layers.text import TextVectorization
from service.model.layers.wrappers import Bidirectional, SpectralNormalization, TimeDistributed

FAMILIES: dict[str, tuple[type[Layer], ...]] = {
    "Recurrent": (SimpleRNN, GRU, LSTM, RNN, ConvLSTM1D, Bidirectional, TimeDistributed),
    "Attention": (Attention, AdditiveAttention, MultiHeadAttention, GroupQueryAttention),
    "Dense and convolution": (
        Dense,
        EinsumDense,
        Conv1D,
        SeparableConv1D,
        DepthwiseConv1D,
        Conv1DTranspose,
        Conv2D,
        SpectralNormalization,
    ),
    "Text and categories": (
        TextVectorization,
        StringLookup,
        IntegerLookup,
        Hashing,
        CategoryEncoding,
        Discretization,
    ),
    "Ids and masks": (Embedding, Masking),
    "Pooling": (
        MaxPooling1D,
        AveragePooling1D,
        GlobalMaxPooling1D,
        GlobalAveragePooling1D,
        MaxPooling2D,
        AveragePooling2D,
        GlobalMaxPooling2D,
        GlobalAveragePooling2D,
    ),
    "Normalization": (
        Normalization,
        Rescaling,
        BatchNormalization,
        LayerNormalization,
        GroupNormalization,
        RMSNormalization,
        UnitNormalization,
    ),
    "Activation": (Activation, ReLU, LeakyReLU, PReLU, ELU, Softmax),
    "Merging": (Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, Dot),
    "Shape": (Flatten, Reshape, Permute, RepeatVector, Cropping1D, ZeroPadding1D, UpSampling1D),
    "Training only": (
        Dropout,
        SpatialDropout1D,
        AlphaDropout,
        GaussianDropout,
        GaussianNoise,
        ActivityRegularization,
        Identity,
    ),
}
LAYERS = {layer.CLASS: layer for family in FAMILIES.values() for layer in family}


def make_layer(document: Any, name: str = "", prefix: str = "", depth: int = 0) -> Layer:
    """A layer from its config, its options checked.

    `name` replaces the one in the config; `prefix` comes before it.

    Raises UnsupportedModelError naming layer, class and option.
    """
    given, class_name, config = unwrap(document, "a layer")
    name = name or f"{prefix}{given}"
    where = f"layer {name} ({shown(class_name)})"
    kind = LAYERS.get(class_name)
    if class_name == "Lambda":
        raise UnsupportedModelError(
            f"{where}: it is Python code, which is never run; make the network again with a layer of Keras "
            "in its place, load the weights into it, and save that",
            layer=name,
            layer_class=class_name,
            code=True,
        )
    if kind is None:
        raise UnsupportedModelError(f"{where}: the class is not supported", layer=name, layer_class=shown(class_name))
    if depth > 1:
        raise UnsupportedModelError(f"{where}: wrappers inside wrappers are not supported", layer=name)
    options = parse(config, kind.OPTIONS, where, COMMON)
    policy = layer_policy(kind.dtype_of(config.get("dtype")), where)
    check_composed(options, policy, where)
    if issubclass(kind, Bidirectional | TimeDistributed | SpectralNormalization):
        return kind(name, policy, options, lambda inner, inner_name: make_layer(inner, inner_name, depth=depth + 1))
    return kind(name, policy, options)
