"""service.supervisor.desired: what is to be served, for every answer of a registry and every outcome of fetching."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry.references import Reference
from service.snapshot import ModelEntry, VersionEntry
from service.supervisor.desired import desired, unfollowed, wanted

NUMBERS = st.sampled_from(["1", "2", "3", "4"])
ALIASES = st.sampled_from(["champion", "challenger", "7"])
REFERENCES = st.lists(
    st.builds(Reference, st.just("m"), version=NUMBERS) | st.builds(Reference, st.just("m"), alias=ALIASES),
    min_size=1, max_size=3, unique=True,
)  # fmt: skip
IN_REGISTRY = st.dictionaries(ALIASES | st.just("other"), NUMBERS)


def version(number, *, on_demand=False):
    return VersionEntry(number, f"digest of {number}", "/cache", on_demand=on_demand)


@st.composite
def found(draw, numbers):
    """What came of fetching: a version, or why it may not serve."""
    return {number: draw(st.sampled_from([version(number), f"{number} is refused"])) for number in numbers}


@st.composite
def served(draw, references):
    """An entry as it comes about: a server that was empty, then looked at registries, and loaded versions on demand."""
    first = references[0]
    entry = ModelEntry("m", tuple(map(str, references)), default_alias=first.alias)
    for _ in range(draw(st.integers(0, 3))):
        aliases = draw(st.none() | IN_REGISTRY)
        entry = desired(entry, references, aliases, draw(found(wanted(references, aliases))))
        for number in draw(st.sets(NUMBERS)) - entry.versions.keys():
            entry = replace(entry, versions={**entry.versions, number: version(number, on_demand=True)})
    return entry


@st.composite
def looks(draw):
    """All that the function takes."""
    references = draw(REFERENCES)
    aliases = draw(st.none() | IN_REGISTRY)
    return draw(served(references)), references, aliases, draw(found(wanted(references, aliases)))


def meant(entry, reference):
    """The number that a reference has in an entry; empty if none."""
    number = entry.aliases.get(reference.alias, "") if reference.alias else reference.version
    return number if number in entry.versions else ""


@given(looks())
def test_nothing_disappears_because_of_a_fault(look):
    """A reference that meant a version that is served means one afterwards, and the model keeps a default."""
    old, references, aliases, outcome = look
    new = desired(old, references, aliases, outcome)
    assert bool(new.default_version) >= bool(old.default_version)
    assert not new.default_version or new.default_version in new.versions
    for reference in references:
        assert bool(meant(new, reference)) >= bool(meant(old, reference))


@given(looks())
def test_references_are_followed_exactly(look):
    """Where the version that a reference means may serve, the reference has it, and no other one."""
    old, references, aliases, outcome = look
    new = desired(old, references, aliases, outcome)
    for reference in references:
        (number,) = wanted([reference], aliases) or [""]
        if isinstance(outcome.get(number), VersionEntry):
            assert meant(new, reference) == number
            assert new.versions[number] == outcome[number]
    if aliases is not None:
        assert new.default_version == meant(new, references[0])
        followed = {reference.alias for reference in references}
        assert {a: n for a, n in new.aliases.items() if a not in followed} == {
            a: n for a, n in aliases.items() if a not in followed
        }


@given(looks())
def test_reasons_are_stated(look):
    """There is a reason if and only if something is not as the registry says, and it names every such reference."""
    old, references, aliases, outcome = look
    new = desired(old, references, aliases, outcome)
    if aliases is None:
        assert new == replace(old, stale_reason="no model m in the registry")
        return
    faults = [r for r in references if not isinstance(outcome.get((wanted([r], aliases) or [""])[0]), VersionEntry)]
    assert bool(new.stale_reason) == bool(faults)
    for reference in faults:
        assert str(reference) in new.stale_reason
        if number := meant(new, reference):
            assert f"version {number} serves on" in new.stale_reason


@given(looks())
def test_versions_on_demand_stay(look):
    """What clients had loaded stays loaded; what no reference means any more, and nobody named, is let go."""
    old, references, aliases, outcome = look
    new = desired(old, references, aliases, outcome)
    assert {n for n, v in old.versions.items() if v.on_demand} <= new.versions.keys()
    if aliases is not None:
        named = {meant(new, reference) for reference in references}
        assert {n for n, v in new.versions.items() if not v.on_demand} == named - {""}


@given(looks())
def test_a_second_look_changes_nothing(look):
    """The same answer again gives the same entry: nothing is sent to the workers."""
    old, references, aliases, outcome = look
    new = desired(old, references, aliases, outcome)
    assert desired(new, references, aliases, outcome) == new


@given(looks(), st.text(min_size=1), st.text(min_size=1))
def test_the_present_cause(look, earlier, now):
    """While the registry cannot be followed everything serves on, and the reason is the cause that holds now."""
    old, references, aliases, outcome = look
    first = unfollowed(desired(old, references, aliases, outcome), earlier)
    second = unfollowed(first, now)
    assert second.stale_reason == f"the registry cannot be followed: {now}"
    assert replace(second, stale_reason="") == replace(first, stale_reason="")
    if aliases is not None:  # and when it can be followed again, only what holds then
        assert desired(second, references, aliases, outcome).stale_reason.count("cannot be followed") == 0
