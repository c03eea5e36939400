"""The names of groups in Keras's H5 files (keras.src.utils.naming, keras.src.saving.saving_lib, Keras 3.15)."""

import re


def snake_case(name: str) -> str:
    """SimpleRNN → simple_rnn, LSTM → lstm, ReLU → re_lu."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# Classes that Keras exports under another name than the one they have, by which it names the folder.
OWN_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}


class Counter:
    """Names the folders of sibling layers: dense, dense_1, dense_2 … by class, in the order of the config.

    The name that the user gave a layer plays no part in it.
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def __call__(self, class_name: str) -> str:
        """The folder of the next layer of this class."""
        name = snake_case(OWN_NAMES.get(class_name, class_name))
        number = self._used.get(name, -1) + 1
        self._used[name] = number
        return f"{name}_{number}" if number else name
