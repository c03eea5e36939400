"""The gate: decides whether the alias moves to a new version, by comparison with the current one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import InvalidArgumentError
from service.model.network import Network
from service.model.tensors import TensorSpec, type_name
from training.data import reread
from training.data.layout import Layout
from training.data.windows import Windows
from training.evaluation.errors import NETWORK, Measured, errors, metric, predict
from training.options import Registration, Source


@dataclass(frozen=True)
class Champion:
    """What the alias points at, and how it does on the same held-out targets."""

    version: str
    error: float | None  # None: it cannot be compared
    challenger_error: float | None  # on the targets that both can predict
    reason: str = ""  # why it cannot be compared
    folds: tuple[tuple[float, float], ...] = ()  # both errors in each fold


@dataclass(frozen=True)
class Decision:
    """Whether the alias moves, and why."""

    promoted: bool
    reason: str


def compare(
    network: Network,
    layout: Layout,
    champion: Network,
    champion_layout: Layout | None,
    version: str,
    test: Windows,
    folds: Sequence[Windows] = (),
    source: Source | None = None,
) -> Champion:
    """The champion and its challenger on the held-out targets that both predict, and in folds of them, as each serves.

    A network takes sequences of any length, so the champion's window is what it was trained with, as its version says;
    where that says nothing, as its file says. Of two horizons the steps are compared that both have. For a champion
    that reads other columns of a table, `source`, the table is read once more as its layout says.
    """
    classes = len(layout.classes)
    length = champion_layout.window if champion_layout else (champion.declared[0].shape[1:2] or (None,))[0]
    reason = _other_task(layout, network, champion, champion_layout, test)
    reread_by = champion_layout if champion_layout and _inputs(champion_layout) != _inputs(layout) else None
    its: Windows | None = None  # where they are others than the challenger's
    if not reason and reread_by and source and test.timeline is not None:
        try:
            its = reread.held_out(source, reread_by)
        except (InvalidArgumentError, OSError) as error:
            reason = f"it cannot read this data: {error}"
    elif not reason:
        reason = _other_inputs(layout, champion, champion_layout, test)
    if not reason and not length:
        reason = "its file leaves the number of timesteps open, and the version does not name its window"
    if reason or not length:
        return Champion(version, None, None, reason)
    deciding = metric(layout)
    steps = test.outputs if classes else min(test.outputs, champion.outputs[0].shape[1] or test.outputs)
    both = slice(None if classes else steps)

    def compared(windows: Windows) -> tuple[float, float] | None:
        theirs, shared = windows.reaching_back(length) if its is None else its.with_targets_of(windows, steps)
        if not len(theirs):
            return None
        own = windows.some(shared)
        expected = own.expected()[:, both]
        return (
            errors(predict(champion, theirs)[:, both], expected, classes)[deciding],
            errors(predict(network, own)[:, both], expected, classes)[deciding],
        )

    found = compared(test)
    if found is None:
        return Champion(version, None, None, f"its windows of {length} timesteps do not fit the held-out data")
    return Champion(version, *found, folds=tuple(pair for fold in folds if (pair := compared(fold))))


def decide(measured: Measured | None, champion: Champion | None, registration: Registration) -> Decision:
    """Whether the alias moves to a challenger; `measured` is None where nothing is held out to compare by."""
    if registration.promote != "better":
        return Decision(registration.promote == "always", f"--promote {registration.promote}")
    if measured is None:
        return Decision(True, "nothing is held out to compare by")
    found = _first(measured) if champion is None else _beside(champion, registration)
    return _over_folds(found, measured, champion) if found.promoted and measured.folds else found


def _beside(champion: Champion, registration: Registration) -> Decision:
    """What to do beside a champion: the better one on the held-out data is it from now on."""
    if champion.error is None or champion.challenger_error is None:
        return Decision(False, f"the champion, version {champion.version}, cannot be compared: {champion.reason}")
    least = registration.min_improvement
    figures = f"held-out error {champion.challenger_error:.6g}, the champion's (version {champion.version}) is "
    figures += f"{champion.error:.6g}"
    # A champion whose error is no number gives nothing that can be used; anything that does is better.
    better = champion.challenger_error < (champion.error * (1 - least) if math.isfinite(champion.error) else math.inf)
    wanted = f"; wanted is {least:.3g} less" if least and not better else ""
    return Decision(better, figures + wanted)


def _first(measured: Measured) -> Decision:
    """What to do where there is no champion: a network that a baseline beats is not worth serving unasked."""
    if baseline := measured.better_baseline:
        error = measured.baselines[baseline][measured.metric]
        return Decision(
            False,
            f"there is no champion yet, but the baseline {baseline!r} is better: held-out error {error:.6g}, "
            f"the network's is {measured.network[measured.metric]:.6g}",
        )
    return Decision(True, "there is no champion yet")


def _over_folds(decision: Decision, measured: Measured, champion: Champion | None) -> Decision:
    """What becomes of a promotion: on average over the folds nobody may be better, so that no one stretch decides."""
    count, own = len(measured.folds[NETWORK]), _mean(measured.folds[NETWORK])
    others = {f"the baseline {who!r}": (_mean(e), own) for who, e in measured.folds.items() if who != NETWORK}
    if champion is not None and champion.folds:
        theirs, ours = zip(*champion.folds, strict=True)
        others[f"the champion, version {champion.version},"] = _mean(theirs), _mean(ours)
    for who, (error, mine) in sorted(others.items(), key=lambda item: item[1][0]):
        if not mine <= error:
            return Decision(
                False,
                f"{decision.reason}; but over {count} folds {who} is better: mean error {error:.6g}, "
                f"the network's is {mine:.6g}",
            )
    return Decision(True, f"{decision.reason}; and over {count} folds nothing is better: mean error {own:.6g}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _input(spec: TensorSpec) -> str:
    return f"{type_name(spec.dtype)} of {len(spec.shape)} axes"


def _inputs(layout: Layout) -> tuple[object, ...]:
    """What the inputs of a network are made of: the same for two that take the same windows, but for their length."""
    return layout.features, layout.categories, layout.future, layout.horizon if layout.future else 0


def _other_task(layout: Layout, network: Network, champion: Network, known: Layout | None, test: Windows) -> str:
    """Why the outputs of a champion are not those of its challenger, or not of such inputs; empty: they are."""
    if len(champion.inputs) != 1 + (len(_beside_features(known)) if known else 0) or len(champion.outputs) != 1:
        return "it does not take one sequence and give one answer"
    own, read = network.inputs[0], champion.inputs[0]
    if read.dtype != own.dtype or len(read.shape) != len(own.shape):
        return f"it takes {_input(read)}, not {_input(own)}"
    if known is not None and known.predicted != layout.predicted:
        return f"its target is {', '.join(known.predicted)}, not {', '.join(layout.predicted)}"
    outputs = champion.outputs[0].shape
    expected: tuple[int | None, ...]
    if layout.classes:
        expected = (*network.outputs[0].shape[1:-1], len(layout.classes))
    else:
        steps = known.horizon or 1 if known else test.outputs
        expected = (steps, test.several) if test.several else (steps,)
    if outputs[1:] != expected:
        return f"it gives outputs of shape {outputs[1:]}, not {expected}"
    if known is None:
        return ""
    if known.horizon != layout.horizon and (layout.classes or not known.horizon or not layout.horizon):
        return f"its horizon is {known.horizon}, not {layout.horizon}"
    for what in ("text", "classes"):
        if getattr(layout, what) != getattr(known, what):
            return f"its {what} are {getattr(known, what)}, not {getattr(layout, what)}"
    return ""


def _other_inputs(layout: Layout, champion: Network, known: Layout | None, test: Windows) -> str:
    """Why a champion cannot read the windows of its challenger; empty: it can."""
    mine, its = _beside_features(layout), _beside_features(known) if known else ()
    if mine != its:
        return f"its further inputs are {', '.join(its) or 'none'}, not {', '.join(mine) or 'none'}"
    if known is not None and known.ids < layout.ids:
        return f"it knows {known.ids} ids, not {layout.ids}"
    if not layout.unit and not layout.ids and champion.inputs[0].shape[2] != test.values.shape[1]:
        return f"it takes {champion.inputs[0].shape[2]} features, not {test.values.shape[1]}"
    if known is not None and known.features != layout.features:
        return f"its features are {', '.join(known.features)}, not {', '.join(layout.features)}"
    return ""


def _beside_features(layout: Layout) -> tuple[str, ...]:
    """The inputs beside the features, as people know them."""
    ahead = (f"{', '.join(layout.future)} ahead",) if layout.future else ()
    return *layout.categories, *ahead
