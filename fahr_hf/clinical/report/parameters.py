"""Events per parameter: are there enough deaths for what is estimated?"""

import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.estimates import Estimates, exposures
from fahr_hf.clinical.report.study import Study

_ENOUGH = 10


def parameters_chapter(study: Study, estimates: Estimates) -> Chapter:
    """Deaths over coefficients of every adjusted model."""
    chapter = Chapter("Events per parameter")
    rows = []
    for name, exposure in exposures(study).items():
        with chapter.attempt(f"the model of {name}"):
            estimate = estimates.adjusted(exposure)
            count = len(estimate.summary)
            ratio = estimate.events / count
            rows.append({"model": name, "events": estimate.events, "parameters": count, "events per parameter": ratio})
    if rows:
        data = pd.DataFrame(rows)
        note = f"Fewer than {_ENOUGH} events per parameter make estimates and intervals unreliable."
        chapter.table("parameters", "Events per parameter of the multivariable models", data, note)
        few = data[data["events per parameter"] < _ENOUGH]
        if len(few):
            chapter.say(
                f"Too few events: {', '.join(few['model'])} with fewer than {_ENOUGH} events per parameter. Name "
                "fewer covariates, or merge groups."
            )
        smallest = float(data["events per parameter"].min())
        chapter.numbers["smallest"] = smallest
        chapter.methods.append(f"The multivariable models had at least {smallest:.1f} events per parameter.")
    return chapter
