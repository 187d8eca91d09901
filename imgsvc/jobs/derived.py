"""A derivation as its worker sees it, from its record to its outcome."""

from dataclasses import replace

from imgsvc.domain.facts import NOT_KNOWN
from imgsvc.jobs.record import Derived, Record, Success


def under_way(record: Record, revision: int) -> Record | None:
    """Returns the record as the derivation of this revision sees it: what to make, and since when it is tried.

    None if that is not under way.
    """
    derivation = record.derivation
    if derivation is None or derivation.done or derivation.revision != revision:
        return None
    return replace(
        record,
        options=replace(derivation.options, variants=derivation.variants),
        attempt=derivation.attempt,
        created_at=derivation.created_at,
        started_at=derivation.started_at,
    )


def outcome(record: Record, made: Success) -> Derived:
    """Returns the outcome of a derivation that has `made` some of an upload's variants anew."""
    assert record.success, "what was not made is not derived"
    names = {file.variant for file in made.files}
    replaced = (file for file in record.success.files if file.variant in names)
    return Derived(_after(record.success, made), record.keys(replaced))


def _after(before: Success, made: Success) -> Success:
    """Returns what the upload has then: the variants keep their order, and new ones come last."""
    names = list(dict.fromkeys(file.variant for file in (*before.files, *made.files)))
    anew = {file.variant for file in made.files}
    stay = [file for file in before.files if file.variant not in anew]
    files = sorted((*stay, *made.files), key=lambda file: names.index(file.variant))
    warnings = tuple(dict.fromkeys((*before.warnings, *made.warnings)))
    facts = made.facts if before.facts == NOT_KNOWN else before.facts
    stand_in = before.placeholder or made.placeholder
    return replace(made, files=tuple(files), placeholder=stand_in, warnings=warnings, facts=facts)
