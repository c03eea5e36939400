"""The options of a training job."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from service import calendar_features
from service.errors import InvalidArgumentError

NETWORKS = ("simple-rnn", "gru", "lstm")
TASKS = ("auto", "regression", "classification")
CONFORMAL = ("split", "adaptive")
MISSING = ("error", "drop", "ffill", "interpolate")
GAPS = ("error", "split", "keep")
DUPLICATES = ("error", "mean", "last")
TABS = ("tab", "\\t")
DECIMALS = ("", ".", ",")
PROMOTE = ("better", "always", "never")
UNITS = ("word", "char")
LEAST_TOKENS, MOST_TOKENS = 3, 200_000  # in a vocabulary, those for padding and unknown ones included
BOOK = ".txt"  # a file that is one text, of which the next character is learned


@dataclass(frozen=True)
class Options:
    """The network and how it is fitted. The defaults train the reference network, SimpleRNN(4, tanh) and Dense(1)."""

    network: str = "simple-rnn"
    """Kind of the recurrent layers: simple-rnn, gru or lstm."""
    units: tuple[int, ...] = (4,)
    """Units of each recurrent layer, first to last."""
    bidirectional: bool = False
    """Whether recurrent layers read their sequence in both directions."""
    dropout: float = 0.0
    """Share of a recurrent layer's outputs that is dropped while fitting."""
    embedding: int = 32
    """Of texts: numbers that stand for a word or character."""
    residual: bool = False
    """Whether the network sees and gives the target as its difference from the last known value: for what drifts."""
    activation: str = "tanh"
    """Activation of the recurrent layers, as Keras names it; `linear` for none."""
    return_sequences: bool = False
    """Whether the last recurrent layer gives its output at every timestep."""
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
    """Most passes over the data; 0 registers the initial weights."""
    batch_size: int = 0
    """Sequences in an optimiser step; 0: all."""
    patience: int = 0
    """Epochs without a better validation loss after which fitting stops; 0: never."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for numbers out of range."""
        _one_of(self, "network", NETWORKS)
        if not self.units or min(self.units) < 1:
            got = ",".join(map(str, self.units)) or "nothing"
            raise InvalidArgumentError(f"units: expected 1 or more, got {got}", field="units")
        for name in ("dense_units", "epochs", "batch_size", "patience", "seed"):
            _at_least(self, name, 0)
        _at_least(self, "embedding", 1)
        if self.seed >= 2**32:
            raise InvalidArgumentError(f"seed: expected less than 2^32, got {self.seed}", field="seed")
        _within(self, "dropout", 0, 1)
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
        return _plain({**asdict(self), "loss": self.chosen_loss})


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a table is written; empty: found from the file."""

    delimiter: str = ""
    """Mark between the columns of a CSV file: one character, or `tab`."""
    decimal: str = ""
    """Decimal mark of a CSV file: `.` or `,`."""
    time_format: str = ""
    """How times are written, such as `%d/%m/%Y`, in the directives of Python's strptime."""
    duplicates: str = "error"
    """Rows of one time in a series: error, mean (of their numbers), last (in the file)."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for what makes no sense."""
        _one_of(self, "duplicates", DUPLICATES)
        if self.decimal not in DECIMALS:
            raise InvalidArgumentError(f"decimal: expected . or , and got {self.decimal!r}", field="decimal")
        if self.delimiter in TABS:
            object.__setattr__(self, "delimiter", "\t")
        if len(self.delimiter.encode()) > 1 or self.delimiter in {'"', "\n", "\r"}:
            raise InvalidArgumentError(
                f"delimiter: expected one character such as ';', or tab, got {self.delimiter!r}", field="delimiter"
            )
        if self.time_format and "%" not in self.time_format:
            raise InvalidArgumentError(
                f"time_format: expected directives such as %d/%m/%Y, got {self.time_format!r}", field="time_format"
            )


@dataclass(frozen=True)
class Source(Format):
    """Which data, and what is to be learned of it. Without `data`: the reference sequences."""

    data: str = ""
    """A table with a row for each timestep (a file, a folder, a URI), or an `.npz` file with sequences `x` and targets
    `y`.

    Or texts: a table with a text in each row, or a `.txt` file, of which the next character is learned.
    """
    text: str = ""
    """Column of texts, each of which has a label, the target; empty: rows are timesteps."""
    text_unit: str = "word"
    """What texts are made of: word or char."""
    vocabulary: int = 0
    """Of texts: most words or characters that are told apart; 0: 20,000 words, or 256 characters."""
    target: tuple[str, ...] = ()
    """Column to predict; of several, which have to be numbers, each is predicted."""
    features: tuple[str, ...] = ()
    """Columns to predict from; none: all that hold numbers."""
    categorical: tuple[str, ...] = ()
    """Columns of text to predict from; the network looks their values up and embeds them."""
    future: tuple[str, ...] = ()
    """Columns of numbers that are known for the steps to predict, such as holidays; read in the window as well."""
    time: str = ""
    """Column of times; empty: rows are in order."""
    calendar: tuple[str, ...] = ()
    """Features computed from the times, as sine and cosine: month, dayofyear, day, weekday, hour."""
    group: str = ""
    """Column that distinguishes series; empty: there is one."""
    group_embedding: int = 0
    """Numbers that stand for each series, learned; 0: the network is not told which series it sees."""
    static: tuple[str, ...] = ()
    """Columns to predict from that have one value in each series, which is checked."""
    window: int = 0
    """Timesteps that the network sees; needed with tables."""
    horizon: int = 1
    """How many steps ahead: that many numbers, or the one class so far ahead; 0: at the window's last row."""
    season: int = 0
    """Steps after which things repeat; the baseline is then the value one season ago, else the mean."""
    conformal: str = "split"
    """Prediction intervals: split (the same widths everywhere), adaptive (also scaled by the series' recent error)."""
    task: str = "auto"
    """regression, classification, or auto: classification where the target is text or truth values."""
    missing: str = "error"
    """Rows with missing values: error, drop, ffill (the value before), interpolate (in the training part)."""
    gaps: str = "error"
    """Uneven times: error, split (no window spans one), keep."""
    validation: float = 0.15
    """Share of the times, before the held-out ones, by which fitting is stopped."""
    test: float = 0.15
    """Share of the times, the latest, that is held out for the measure."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for what makes no sense."""
        super().__post_init__()
        for name, choices in (
            ("task", TASKS),
            ("conformal", CONFORMAL),
            ("missing", MISSING),
            ("gaps", GAPS),
            ("text_unit", UNITS),
        ):
            _one_of(self, name, choices)
        calendar_features.check(self.calendar)
        if self.calendar and not self.time:
            raise InvalidArgumentError("calendar: name the column of times with --time", field="calendar")
        if self.group_embedding and not self.group:
            raise InvalidArgumentError("group_embedding: name the column of series with --group", field="group")
        if self.group and self.group in self.categorical:
            raise InvalidArgumentError(
                f"categorical: {self.group!r} distinguishes series; --group-embedding embeds it", field="categorical"
            )
        if self.static and not self.group:
            raise InvalidArgumentError("static: name the column of series with --group", field="static")
        if self.future and not self.horizon:
            raise InvalidArgumentError("future: with horizon 0 nothing lies ahead", field="future")
        for name in ("target", "features", "categorical", "future", "static", "calendar"):
            given = getattr(self, name)
            if twice := next((column for column in given if given.count(column) > 1), ""):
                raise InvalidArgumentError(f"{name}: {twice!r} is named twice", field=name)
        for name in ("window", "horizon", "season", "group_embedding"):
            _at_least(self, name, 0)
        if self.vocabulary and not LEAST_TOKENS <= self.vocabulary <= MOST_TOKENS:
            raise InvalidArgumentError(
                f"vocabulary: expected {LEAST_TOKENS} to {MOST_TOKENS}, got {self.vocabulary}", field="vocabulary"
            )
        _within(self, "validation", 0, 1)
        _within(self, "test", 0, 1)
        if self.validation + self.test >= 1:
            raise InvalidArgumentError("validation: together with test it takes all data; nothing is left to train on")

    @property
    def format(self) -> Format:
        """How the table is written."""
        return Format(**{field.name: getattr(self, field.name) for field in fields(Format)})

    @property
    def unit(self) -> str:
        """What the texts of the file are made of; empty: it holds no texts."""
        if self.is_book:
            return "char"
        return self.text_unit if self.text else ""

    @property
    def is_book(self) -> bool:
        """Whether the file is one text, of which the next character is learned."""
        return self.data.lower().endswith(BOOK)

    def as_params(self) -> dict[str, object]:
        """Names and values, for the record of a run."""
        return _plain(asdict(self))


@dataclass(frozen=True)
class Registration:
    """Where the network goes, and when the alias moves."""

    name: str = "reference"
    alias: str = "champion"
    experiment: str = ""  # empty: the name of the model
    promote: str = "better"
    """better: the alias moves if the error on held-out data is smaller than that of the version it points at."""
    min_improvement: float = 0.0
    """By which share of the champion's error the challenger's must be smaller."""
    gate_folds: int = 0
    """In how many folds of the held-out part the version must do as well as baselines and champion; 0: in all of it."""

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for what makes no sense."""
        _one_of(self, "promote", PROMOTE)
        _within(self, "min_improvement", 0, 1)
        _at_least(self, "gate_folds", 0)


def as_document(*parts: Options | Source | Registration) -> dict[str, Any]:
    """Everything that a job was asked for, flat, under the names of the command's options."""
    made: dict[str, Any] = {}
    for part in parts:
        for field in fields(part):
            value = getattr(part, field.name)
            made[field.name.replace("_", "-")] = list(value) if isinstance(value, tuple) else value
    return made


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in values.items()}


def _one_of(options: object, name: str, choices: tuple[str, ...]) -> None:
    if (value := getattr(options, name)) not in choices:
        raise InvalidArgumentError(f"{name}: expected {', '.join(choices)}; got {value!r}", field=name)


def _at_least(options: object, name: str, least: int) -> None:
    if (value := getattr(options, name)) < least:
        raise InvalidArgumentError(f"{name}: expected {least} or more, got {value}", field=name)


def _within(options: object, name: str, low: float, high: float) -> None:
    value = getattr(options, name)
    if not low <= value < high:
        raise InvalidArgumentError(f"{name}: expected {low:g} or more and less than {high:g}, got {value}", field=name)


# What suits tables, where nothing else is asked for.
FOR_TABLES = Options(units=(32,), learning_rate=0.003, epochs=200, batch_size=32, patience=20)
# What suits texts: an epoch takes longer, and fewer of them are needed.
FOR_TEXTS = replace(FOR_TABLES, network="gru", epochs=50, patience=5)
