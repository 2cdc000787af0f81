"""The methods paragraph: what was really done, put together from the parts of the report that succeeded."""

from collections.abc import Iterable

import fahr_hf
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.study import Study


def methods_chapter(study: Study, chapters: Iterable[Chapter]) -> Chapter:
    """One paragraph a part of the report, and the conventions that are common to all.

    Args:
        study: The people.
        chapters: The parts, in the order of the report.
    """
    settings = study.settings
    first = (
        f"The outcome was {settings.event} after {settings.duration} ({settings.unit})"
        + (f", with observation from {settings.entry} on" if settings.entry else "")
        + f". All estimates are from the {study.development.name} cohort unless another is named."
    )
    last = (
        "All tests are two-sided and all intervals 95 %; p values are not adjusted for multiple testing unless the "
        "table says so. Quantiles are of type 7, the default of R. The analysis was made with fahr-hf "
        f"{fahr_hf.__version__}, whose survival statistics are tested against R's packages; random numbers have the "
        f"seed {settings.seed}. The scores are research estimates and no basis for the care of a patient."
    )
    chapter = Chapter("Methods, ready to be edited", first)
    for part in chapters:
        if part.methods:
            chapter.say(" ".join(part.methods))
    chapter.say(last)
    return chapter
