"""The gate: whether the alias moves to a new version, judged beside the version it points at."""

from dataclasses import dataclass

from service.model.network import Network
from training.data.layout import Layout
from training.data.windows import Windows
from training.evaluation.errors import Measured, errors, metric, predict
from training.options import Registration


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


def decide(measured: Measured | None, champion: Champion | None, registration: Registration) -> Decision:
    """Whether the alias moves to a challenger; `measured` is None where nothing is held out to compare by."""
    if registration.promote != "better":
        return Decision(registration.promote == "always", f"--promote {registration.promote}")
    if measured is None:
        return Decision(True, "nothing is held out to compare by")
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
