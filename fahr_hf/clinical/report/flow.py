"""Who was analysed: the flow of people with every exclusion, as a diagram and as a table."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.cohorts import Cohort
from fahr_hf.clinical.report.settings import TRAIN
from fahr_hf.clinical.report.study import Study
from fahr_hf.clinical.report.style import INK, SOFT, new_figure


def flow_chapter(study: Study) -> Chapter:
    """People read, excluded and analysed, by cohort."""
    chapter = Chapter(
        "Who was analysed",
        "People without outcome or score are excluded and counted here. People who lack a covariate are not excluded.",
    )
    cohorts = [study.development, *study.external]
    rows = [
        {"cohort": cohort.name, "step": name, "people": people, "events": events}
        for cohort in cohorts
        for name, people, events in _steps(cohort, study)
    ]
    chapter.picture("flow", "Flow of people", draw_flow(study))
    chapter.table("flow", "People and events at each step", pd.DataFrame(rows))
    chapter.numbers = {
        cohort.name: {
            "read": cohort.flow[0].people,
            "excluded": {step.reason: step.people for step in cohort.flow[1:]},
            "analysed": len(cohort.people),
            "events": int(cohort.people[study.settings.event].sum()),
        }
        for cohort in cohorts
    }
    _tell_parts(chapter, study)
    analysed = "; ".join(
        f"{cohort.name}: {len(cohort.people):,} of {cohort.flow[0].people:,} people, "
        f"{int(cohort.people[study.settings.event].sum()):,} deaths"
        for cohort in cohorts
    )
    chapter.methods.append(f"People without outcome or score were excluded. Analysed were {analysed}.")
    return chapter


def _tell_parts(chapter: Chapter, study: Study) -> None:
    settings = study.settings
    if settings.out_of_fold:
        told = "The scores were declared out-of-fold: each comes from a model that had not seen the person."
    elif settings.part is None:
        told = "It was declared that nobody in the table trained the model behind the scores."
    else:
        counts = study.people[settings.part].value_counts()
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        told = f"Nobody with {settings.part} = {TRAIN} is in the table. Parts analysed: {parts}."
        if "validation" in counts:
            told += " The model was selected on the part validation, so its scores there are slightly too good."
    chapter.say(told)
    chapter.methods.append(told)


def _steps(cohort: Cohort, study: Study) -> list[tuple[str, int, int]]:
    first, *excluded = cohort.flow
    events = int(cohort.people[study.settings.event].sum())
    return [
        ("in the table", first.people, first.events),
        *((f"excluded: {step.reason}", step.people, step.events) for step in excluded),
        ("analysed", len(cohort.people), events),
    ]


def draw_flow(study: Study) -> Figure:
    """Boxes from the table to those analysed, a column a cohort, with exclusions to the right."""
    cohorts = [study.development, *study.external]
    tallest = max(len(cohort.flow) for cohort in cohorts)
    figure = new_figure(5.6 * len(cohorts), 2.2 + 0.75 * (tallest - 1))
    for axes, cohort in zip(figure.subplots(1, len(cohorts), squeeze=False)[0], cohorts, strict=True):
        _draw_cohort(axes, cohort, study, tallest)
    return figure


def _draw_cohort(axes: Axes, cohort: Cohort, study: Study, tallest: int) -> None:
    axes.set(xlim=(0, 10), ylim=(-tallest - 0.6, 0.6))
    axes.axis("off")
    first, *excluded = cohort.flow
    events = int(cohort.people[study.settings.event].sum())
    bottom = -len(cohort.flow)
    axes.annotate("", (2.4, bottom + 0.26), (2.4, -0.22), arrowprops={"arrowstyle": "-|>", "color": SOFT})
    _box(axes, 2.4, 0, f"{cohort.name}\n{first.people:,} people, {first.events:,} deaths", "bold")
    for number, step in enumerate(excluded, 1):
        axes.annotate("", (5.0, -number), (2.4, -number), arrowprops={"arrowstyle": "-|>", "color": SOFT})
        text = f"{step.people:,} excluded ({step.events:,} deaths)\n{_wrapped(step.reason)}"
        _box(axes, 5.05, -number, text, "normal", left=True)
    _box(axes, 2.4, bottom, f"analysed\n{len(cohort.people):,} people, {events:,} deaths", "bold")


def _wrapped(reason: str) -> str:
    return reason if len(reason) <= 34 else reason.replace(" or ", " or\n", 1)


def _box(axes: Axes, x: float, y: float, text: str, weight: str, left: bool = False) -> None:
    axes.text(
        x,
        y,
        text,
        ha="left" if left else "center",
        va="center",
        fontsize=9.5,
        fontweight=weight,
        color=INK,
        bbox={"boxstyle": "round,pad=0.45", "facecolor": "white" if left else "#eef3f8", "edgecolor": SOFT},
    )
