"""The desired state of a model: a pure function of the registry's answer, what is served, and what was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from registry.references import Reference
from service.snapshot import ModelEntry, VersionEntry

UNCONFIRMED = "not yet confirmed by the registry: last good snapshot of this server"

Found = Mapping[str, VersionEntry | str]  # by number: a version that may serve, or why it may not


def wanted(references: Sequence[Reference], aliases: Mapping[str, str] | None) -> list[str]:
    """The numbers that references mean when the aliases in the registry are these, as far as they mean any.

    `aliases` is None where the registry has no such model.
    """
    numbers = [] if aliases is None else [_number(reference, aliases) for reference in references]
    return list(dict.fromkeys(filter(None, numbers)))


def desired(
    old: ModelEntry, references: Sequence[Reference], aliases: Mapping[str, str] | None, found: Found
) -> ModelEntry:
    """The entry of a model that follows its references.

    `aliases` are those in the registry, None where it has no such model; `found` says of every number in `wanted`
    whether it may serve. A reference that means nothing, or a version that may not serve, keeps the version that it
    had, and `stale_reason` says why. Versions on demand stay.
    """
    if aliases is None:
        return replace(old, stale_reason=f"no model {old.name} in the registry")
    versions = {number: version for number, version in old.versions.items() if version.on_demand}
    names, problems, numbers = dict(aliases), [], []
    for reference in references:
        number = _number(reference, aliases)
        version = found[number] if number else f"alias {reference.alias} of {old.name} does not exist in the registry"
        if number and isinstance(version, VersionEntry):
            versions[number] = replace(version, on_demand=False)
        else:
            number = _before(reference, old)
            if number:
                versions[number] = replace(old.versions[number], on_demand=False)
            problems.append(f"{reference}: {version}{f'; version {number} serves on' if number else ''}")
        if reference.alias:
            names.pop(reference.alias, None)
            names |= {reference.alias: number} if number else {}
        numbers.append(number)
    moved = numbers[0] != old.default_version  # and not through this server
    return replace(
        old,
        moved_by="" if moved else old.moved_by,
        moved_because="" if moved else old.moved_because,
        default_version=numbers[0],
        aliases=names,
        versions=versions,
        stale_reason="; ".join(problems),
    )


def unfollowed(old: ModelEntry, reason: str) -> ModelEntry:
    """The entry while the registry cannot be followed: what serves stays, and the reason is the present one."""
    return replace(old, stale_reason=f"the registry cannot be followed: {reason}")


def _number(reference: Reference, aliases: Mapping[str, str]) -> str:
    return aliases.get(reference.alias, "") if reference.alias else reference.version


def _before(reference: Reference, old: ModelEntry) -> str:
    """The version that a reference had, as far as it is served; empty if none is."""
    number = _number(reference, old.aliases)
    return number if number in old.versions else ""
