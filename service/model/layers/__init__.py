"""The table of the layers that this product computes."""

from service.model.layers.base import Layer
from service.model.layers.dense import Dense
from service.model.layers.recurrent import SimpleRNN

LAYERS: dict[str, type[Layer]] = {layer.CLASS: layer for layer in (SimpleRNN, Dense)}
