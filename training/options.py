"""What a training job is asked for."""

from dataclasses import asdict, dataclass

from service.errors import InvalidArgumentError


@dataclass(frozen=True)
class Options:
    """The defaults train the reference network: SimpleRNN(4, tanh) and Dense(1), 33 parameters."""

    units: int = 4
    """Units of the recurrent layer."""
    activation: str = "tanh"
    """Activation of the recurrent layer, as Keras names it; `linear` for none."""
    return_sequences: bool = False
    """Whether the recurrent layer gives its output at every timestep."""
    dense_units: int = 1
    """Units of the Dense layer after it; 0: no such layer."""
    dense_activation: str = "linear"
    """Activation of the Dense layer; `softmax` for classification."""
    loss: str = ""
    """Loss, as Keras names it; empty: cross entropy for softmax, else the mean squared error."""
    optimizer: str = "adam"
    """Optimizer, as Keras names it."""
    learning_rate: float = 0.01
    """Learning rate of the optimizer."""
    epochs: int = 2000
    """Passes over the data; 0 registers the initial weights."""
    seed: int = 0
    """Seed of everything that is left to chance."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for numbers out of range."""
        for name, least in (("units", 1), ("dense_units", 0), ("epochs", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InvalidArgumentError(f"{name}: expected {least} or more, got {getattr(self, name)}", field=name)
        if self.seed >= 2**32:
            raise InvalidArgumentError(f"seed: expected less than 2^32, got {self.seed}", field="seed")
        if not 0 < self.learning_rate < float("inf"):
            raise InvalidArgumentError(
                f"learning_rate: expected a positive number, got {self.learning_rate}", field="learning_rate"
            )

    @property
    def chosen_loss(self) -> str:
        """The loss that is used."""
        default = "sparse_categorical_crossentropy" if self.dense_activation == "softmax" else "mean_squared_error"
        return self.loss or default

    def as_params(self) -> dict[str, object]:
        """Names and values, for the record of a run."""
        return {**asdict(self), "loss": self.chosen_loss}
