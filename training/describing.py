"""What MLflow's UI says of what a job makes: the names of runs, descriptions in Markdown, and the table of the gate.

MLflow's lists show the beginning of the first line of a description, so that it has the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from registry.description import LONGEST, code, plain
from training.config import Job
from training.data.examples import Examples
from training.evaluation.backtested import Backtested
from training.evaluation.errors import NETWORK, Measured, shortened
from training.evaluation.gate import Champion, Decision
from training.options import FOR_TABLES, FOR_TEXTS, Format, Options, Source

LONGEST_NAME = 120  # characters of a run's name
GATE_FILE = "gate.json"
OVER_TIME = "figures/predictions_over_time.png"
MOST_READ = 12  # columns that the network reads
MOST_TARGETS = 12  # in the table by target
MOST_TRIALS = 20  # of a sweep that are listed
SHOWN_LEVELS = (80.0, 95.0)  # of prediction intervals, in percent
MOST_COLUMNS = 3  # that the name of a run lists of an option; of more, how many
_OF_THE_NETWORK = {"network", "units", "seed", "return_sequences", "dense_units", "dense_activation"}
_SHOWN_OTHERWISE = {"window", "horizon", *_OF_THE_NETWORK}
# Where the data is and how to read it, which the model's name stands for, and what only a baseline uses.
_NOT_SHOWN = {"data", "text", "time", "group", "season", *(field.name for field in fields(Format))}

Rows = Sequence[Sequence[object]]


def run_name(job: Job, what: str = "") -> str:
    """A name that tells a run from others of its experiment: its network, and the options that are not usual.

    Of a name that would be too long, the end of the options is left out; the seed stays. `what`: what was done, where
    that is not a training.
    """
    source, options = job.source, job.options
    usual = (FOR_TEXTS if source.unit else FOR_TABLES) if source.data else Options()
    parts = [network(options)]
    if source.window:
        parts += [f"window {source.window}", *([] if source.unit else [f"horizon {source.horizon}"])]
    parts += _unusual(source, Source()) + _unusual(options, usual)
    title, seed = f"{job.registration.name} {what}".strip(), f", seed {options.seed}"
    name, room = f"{title}: {', '.join(parts)}", LONGEST_NAME - len(seed)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + seed


def _unusual(options: Options | Source, usual: Options | Source) -> list[str]:
    """The options that are not the usual ones, in a few words each."""
    found = []
    for field in fields(options):
        value, name = getattr(options, field.name), field.name.replace("_", " ")
        if field.name in _SHOWN_OTHERWISE | _NOT_SHOWN or value == getattr(usual, field.name):
            continue
        if isinstance(value, tuple):
            value = "+".join(map(str, value)) if len(value) <= MOST_COLUMNS else f"{len(value)} columns"
        found.append(name if value is True else f"no {name}" if value is False else f"{name} {value}")
    return found


def network(options: Options) -> str:
    """The recurrent layers in a few words."""
    kind = f"bidirectional {options.network}" if options.bidirectional else options.network
    return f"{kind} {'+'.join(map(str, options.units))}"


def model(examples: Examples, alias: str) -> str:
    """What the versions of a model are for. `alias`: that of the version in service, once one is promoted."""
    rest = (
        f"Each version says how good it is. The alias {code(alias)} stands at the one in service, once one is promoted"
    )
    return f"{_task(examples)}.\n\n{rest}."


def gate(measured: Measured, champion: Champion | None) -> tuple[Sequence[str], Rows]:
    """The figures by which the gate decides, as columns and rows."""
    metrics = list(measured.network)
    rows = [("this version", measured.network)]
    if champion is not None and champion.error is not None:
        rows.append((f"champion, version {champion.version}", {measured.metric: champion.error}))
        if champion.challenger_error not in (None, measured.network[measured.metric]):
            alike = {measured.metric: champion.challenger_error or 0.0}
            rows.append(("this version, on what the champion predicts too", alike))
    rows += [(f"baseline: {name}", figures) for name, figures in measured.baselines.items()]
    return ["on held-out data", *metrics], [[who, *shortened(figures, metrics)] for who, figures in rows]


def version(
    job: Job,
    examples: Examples,
    parameters: int,
    measured: Measured | None,
    champion: Champion | None,
    run_id: str,
    decision: Decision,
) -> str:
    """A version: how good it is, what was decided of it, the picture, what it does, all figures, and on which data."""
    lines = [_headline(measured) if measured else network(job.options), ""]
    lines += [f"{'promoted' if decision.promoted else 'not promoted'}: {plain(decision.reason)}", ""]
    if measured and not examples.classes:
        lines += [f"![held-out data and predictions](get-artifact?path={OVER_TIME}&run_uuid={run_id})", ""]
    lines += [f"{_task(examples)}. {network(job.options)}, {parameters:,} weights.", ""]
    if measured:
        lines += [*_table(*gate(measured, champion)), "", *_by_target(measured), *_coverage(measured)]
    if examples.data:
        lines.append(_data(examples))
    return "\n".join(lines).strip()[:LONGEST]


def run(version_text: str, name: str, number: str) -> str:
    """A run: which version it made, and all that stands with the version."""
    headline, _, rest = version_text.partition("\n\n")
    return f"{headline}\n\n{name} version {number}, {rest}"[:LONGEST]


def backtest(job: Job, examples: Examples, found: Backtested, picture: str, run_id: str) -> str:
    """A backtest: how good the network is beside the baselines, the picture, what it does, and all its errors.

    `picture`: the name of its file in the run.
    """
    errors = found.errors()
    baselines = {who: figures for who, figures in errors.items() if who != NETWORK}
    lines = [_headline(Measured(found.metric, errors[NETWORK], baselines)), ""]
    lines += [f"![forecasts and what came](get-artifact?path={picture}&run_uuid={run_id})", ""]
    lines += [f"{_task(examples)}. {network(job.options)}.", ""]
    metrics = list(errors[NETWORK])
    overall = [[who, *map(figures.get, metrics)] for who, figures in errors.items()]
    lines += _table(["over all folds", *metrics], overall)
    lines += ["", _data(examples)]
    return "\n".join(lines)[:LONGEST]


def sweep(trials: Sequence[tuple[Mapping[str, object], float]]) -> str:
    """A sweep: the best error on the validation part, and the values of the best trials with theirs."""
    names = list(trials[0][0])
    lines = [f"validation error {trials[0][1]:.4g}, best of {len(trials)} trials", ""]
    rows = [[*values.values(), error] for values, error in trials[:MOST_TRIALS]]
    lines += _table([*map(code, names), "validation error"], rows)
    return "\n".join(lines)[:LONGEST]


def _headline(measured: Measured) -> str:
    """The deciding figure beside the best baseline's, as short as a column is narrow."""
    metric = measured.metric
    own = f"{metric.replace('_', ' ')} {measured.network[metric]:.4g}"
    if not measured.baselines:
        return own
    best = min(measured.baselines, key=lambda name: measured.baselines[name][metric])
    return f"{own}, {best} {measured.baselines[best][metric]:.4g}"


def _task(examples: Examples) -> str:
    """What is predicted from what."""
    layout = examples.layout
    if not examples.data:
        return "Learns three short reference sequences"
    if layout.next_character:
        return f"Predicts the next character of a text, one of {len(layout.classes)}"
    what = ", ".join(map(code, filter(None, layout.predicted[:8]))) or "the targets"
    if layout.classes:
        ahead = f", {layout.horizon} step{'s' if layout.horizon > 1 else ''} ahead," if layout.horizon else ""
        what = f"the class of {what}{ahead} ({', '.join(map(plain, layout.classes[:8]))})"
    elif layout.horizon:
        what = f"the next {layout.horizon} values of {what}" if layout.horizon > 1 else f"the next value of {what}"
    if layout.unit:
        pieces = "words" if layout.unit == "word" else "characters"
        return f"Predicts {what} from the first {layout.window} {pieces} of {code(layout.text)}"
    read = [name for name in (*layout.features, *layout.categories) if name != layout.group]
    more = f" and {len(read) - MOST_READ} more" if len(read) > MOST_READ else ""
    text = f"Predicts {what} from {layout.window} rows of {', '.join(map(code, read[:MOST_READ]))}{more}"
    if layout.group in layout.categories:
        text += f", and from which series it is ({code(layout.group)})"
    if layout.future:
        names = ", ".join(map(code, layout.future[:MOST_READ]))
        text += f"; {names} {'are' if len(layout.future) > 1 else 'is'} known for the steps to predict"
    return text


def _by_target(measured: Measured) -> list[str]:
    """A table of the errors of each of several targets, in its own units, beside those of its best baseline."""
    if not measured.by_target:
        return []
    rows = []
    for name, one in list(measured.by_target.items())[:MOST_TARGETS]:
        best = min(one.baselines, key=lambda who, one=one: one.baselines[who][one.metric])  # type: ignore[misc]
        rows.append([plain(name), *one.network.values(), best, *one.baselines[best].values()])
    metrics = list(next(iter(measured.by_target.values())).network)
    return [*_table(["target", *metrics, "best baseline", *(f"its {metric}" for metric in metrics)], rows), ""]


def _coverage(measured: Measured) -> list[str]:
    lines = []
    for kind, found in (("prediction", measured.coverage), ("adaptive", measured.adaptive_coverage)):
        if shown := [f"{found[level]:.0%} at {level:g} %" for level in SHOWN_LEVELS if level in found]:
            lines += [f"Held-out values within the {kind} intervals: {', '.join(shown)}.", ""]
    return lines


def _data(examples: Examples) -> str:
    """The file or folder that examples came from."""
    return f"Data: {code(_last(examples.data))}, SHA-256 `{examples.digest[:12]}…`"


def _last(data: str) -> str:
    """The name of a file or folder without where it lies, which may hold credentials."""
    return data.partition("?")[0].rstrip("/").rpartition("/")[2]


def _table(columns: Sequence[str], rows: Rows) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(value: object) -> str:
    """A cell of a table in Markdown; MLflow leaves no space between columns."""
    return "" if value is None else f"&emsp;{value:.5g}" if isinstance(value, float) else str(value)
