"""How good a network is on data that it has not seen, beside baselines and beside the network that serves."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from service.model.network import Network
from training.data import Array, Examples, Layout
from training.options import Registration, Source
from training.windows import Windows

BATCH = 512  # windows that are computed at once
TINY = 1e-7  # the least probability, so that logarithms are finite

Figures = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """Errors on the held-out windows, by whose they are and then by metric; the smaller the better."""

    metric: str  # the one that decides
    network: Figures
    baselines: dict[str, Figures] = field(default_factory=dict)

    def as_metrics(self) -> Figures:
        """Flat, for the record of a run."""
        own = {f"held_out_{name}": value for name, value in self.network.items()}
        others = {
            f"baseline_{who.replace(' ', '_')}_{name}": value
            for who, figures in self.baselines.items()
            for name, value in figures.items()
        }
        return own | others


@dataclass(frozen=True)
class Champion:
    """What the alias points at, and how it does on the same held-out targets."""

    version: str
    error: float | None  # None: it cannot be compared
    challenger_error: float | None  # on the targets that both can predict
    reason: str = ""  # why it cannot be compared


@dataclass(frozen=True)
class Decision:
    """Whether the alias moves, and why."""

    promoted: bool
    reason: str


def predict(network: Network, windows: Windows, told: Callable[[int, int], None] = lambda *_: None) -> Array:
    """What a network gives for windows, (windows, outputs), computed batch by batch without Keras."""
    (name,) = (spec.name for spec in network.inputs)
    (output,) = (spec.name for spec in network.outputs)
    parts = []
    for i, batch in enumerate(windows.batches(BATCH)):
        parts.append(network.forward({name: batch.inputs()}).outputs[output])
        told(min((i + 1) * BATCH, len(windows)), len(windows))
    return np.concatenate(parts)


def errors(predicted: Array, expected: npt.NDArray[np.generic], classes: int) -> Figures:
    """Of numbers the root of the mean squared and the mean absolute error; of classes how many are wrong, and log loss.

    For classes `predicted` holds probabilities.
    """
    if not classes:
        difference = predicted.astype(np.float64) - np.asarray(expected, np.float64)
        return {"rmse": float(np.sqrt(np.mean(difference**2))), "mae": float(np.mean(np.abs(difference)))}
    right = np.asarray(expected, np.int64)[:, 0]
    likelihood = np.clip(predicted[np.arange(len(right)), right].astype(np.float64), TINY, 1)
    return {
        "error_rate": float(np.mean(predicted.argmax(axis=1) != right)),
        "log_loss": float(-np.mean(np.log(likelihood))),
    }


def metric(classes: int) -> str:
    """The error that decides."""
    return "error_rate" if classes else "rmse"


def measure(network: Network, examples: Examples, source: Source) -> Measured:
    """A network and the baselines on the held-out windows."""
    test, classes = examples.parts.test, len(examples.classes)
    own = errors(predict(network, test), test.expected(), classes)
    return Measured(metric(classes), own, baselines(examples, source.season))


def baselines(examples: Examples, season: int) -> dict[str, Figures]:
    """The errors of what costs nothing: the last known value, and the value a season ago, or the mean or usual class.

    Ready sequences say nothing of earlier targets; they have the mean only.
    """
    train, test = examples.parts.train, examples.parts.test
    expected, classes = test.expected(), len(examples.classes)

    def judged(predicted: npt.NDArray[np.generic]) -> Figures:
        if not classes:
            return errors(np.asarray(predicted, np.float32), expected, 0)
        return {"error_rate": float(np.mean(predicted != expected))}

    found = {}
    if test.lead:
        found["last value"] = judged(_last(test))
    if test.lead and season:
        found["seasonal"] = judged(_seasonal(test, season))
    elif classes:
        usual = np.bincount(train.expected()[:, 0], minlength=classes).argmax()
        found["most frequent"] = judged(np.full_like(expected, usual))
    else:
        found["mean"] = judged(np.broadcast_to(train.expected().mean(axis=0, dtype=np.float64), expected.shape))
    return found


def compare(
    network: Network, layout: Layout, champion: Network, champion_layout: Layout | None, version: str, test: Windows
) -> Champion:
    """The champion and its challenger on the same held-out targets, the champion with windows of its own length."""
    classes = len(layout.classes)
    reason = _incomparable(layout, champion, champion_layout, test)
    if reason:
        return Champion(version, None, None, reason)
    length = champion.inputs[0].shape[1] or test.window
    theirs, both = test.reaching_back(length)
    if not len(theirs):
        return Champion(version, None, None, f"its windows of {length} timesteps do not fit the held-out data")
    expected = theirs.expected()
    deciding = metric(classes)
    return Champion(
        version,
        errors(predict(champion, theirs), expected, classes)[deciding],
        errors(predict(network, test.some(both)), expected, classes)[deciding],
    )


def decide(champion: Champion | None, registration: Registration) -> Decision:
    """Whether the alias moves to a challenger."""
    if registration.promote != "better":
        return Decision(registration.promote == "always", f"--promote {registration.promote}")
    if champion is None:
        return Decision(True, "there is no champion yet")
    if champion.error is None or champion.challenger_error is None:
        return Decision(False, f"the champion, version {champion.version}, cannot be compared: {champion.reason}")
    least = registration.min_improvement
    figures = f"held-out error {champion.challenger_error:.6g}, the champion's (version {champion.version}) is "
    figures += f"{champion.error:.6g}"
    better = champion.challenger_error < champion.error * (1 - least) or (
        least == 0 and champion.challenger_error < champion.error
    )
    wanted = f"; wanted is {least:.3g} less" if least and not better else ""
    return Decision(better, figures + wanted)


def _incomparable(layout: Layout, champion: Network, known: Layout | None, test: Windows) -> str:
    """Why a champion cannot be measured on these windows; empty: it can."""
    if len(champion.inputs) != 1 or len(champion.outputs) != 1 or len(champion.inputs[0].shape) != 3:
        return "it does not take one sequence and give one answer"
    width, outputs = champion.inputs[0].shape[2], champion.outputs[0].shape
    if width != test.values.shape[1]:
        return f"it takes {width} features, not {test.values.shape[1]}"
    if len(outputs) != 2 or outputs[1] != (len(layout.classes) or test.outputs):
        return f"it gives outputs of shape {outputs[1:]}, not {len(layout.classes) or test.outputs}"
    if known is None:
        return ""
    for what in ("features", "target", "horizon", "classes"):
        mine, its = getattr(layout, what), getattr(known, what)
        if mine != its:
            return f"its {what} {'are' if what.endswith('s') else 'is'} {its}, not {mine}"
    return ""


def _last(windows: Windows) -> npt.NDArray[np.generic]:
    """The last target that is known at the end of each window, for all its targets."""
    known = windows.targets[np.maximum(windows.target_starts - windows.lead, 0)]
    return np.broadcast_to(known[:, None], (len(windows), windows.outputs))


def _seasonal(windows: Windows, season: int) -> npt.NDArray[np.generic]:
    """The targets one season (or as many as are needed) earlier; the last known one where the series is younger."""
    ahead = np.arange(windows.outputs)
    back = season * -(-(ahead + windows.lead) // season)
    rows = windows.target_starts[:, None] + ahead - back
    there = rows >= 0
    if windows.segments is not None:
        there &= windows.segments[np.maximum(rows, 0)] == windows.segments[windows.starts][:, None]
    return np.where(there, windows.targets[np.maximum(rows, 0)], _last(windows))
