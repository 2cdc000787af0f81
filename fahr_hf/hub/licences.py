"""Which terms hold for weights, given those of everything that they were made from.

Weights made from several things may be passed on only as all of their terms permit. Terms that are not known permit
nothing by themselves: they are named, and never taken for free ones.
"""

from collections.abc import Iterable

ORDER = (
    *("cc0-1.0", "mit", "bsd-3-clause", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""The Hub's identifiers of the licences that are known here, from what permits most to what permits least."""

OTHER = "other"
"""The Hub's identifier of terms that are no licence of its own list."""

NOT_STATED = "not-stated"
"""The `license_name` of weights where nobody stated the terms of something that they were made from."""


def strictest(licences: Iterable[str | None]) -> str:
    """The terms that satisfy all of several licences.

    Args:
        licences: Identifiers of the Hub; what is not in `ORDER`, None included, counts as unknown.

    Returns:
        The first of `ORDER` that stands at or behind each and makes all their conditions (non-commercial use, share
        alike, no derivatives) its own: of `cc-by-sa-4.0` and `cc-by-nc-4.0` that is `cc-by-nc-sa-4.0`. `OTHER` where
        one is unknown, or no licence of the order satisfies all.

    Raises:
        ValueError: no licences.
    """
    named = list(licences)
    if not named:
        raise ValueError("No licences to compare; name at least those of the detectors.")
    if not all(name in ORDER for name in named):
        return OTHER
    known = [str(name) for name in named]
    latest = max(ORDER.index(name) for name in known)
    asked = frozenset[str]().union(*map(_conditions, known))
    return next((name for name in ORDER[latest:] if asked <= _conditions(name)), OTHER)


def _conditions(licence: str) -> frozenset[str]:
    return frozenset(licence.split("-")) & {"nc", "sa", "nd"}
