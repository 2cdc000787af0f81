"""Public figures, descriptively: everybody in the data set has died, so only the order of deaths can be looked at.

The year of the photo largely bounds the time to death, and people of one age differ little; so only pairs photographed
in the same year at ages within two years are compared. Nothing follows from it for the living.
"""

import numpy as np
import pandas as pd
from pairs import Concordance, alike_photos, pair_concordance

from fahr_hf.data.crops import Crops


def describe(crops: Crops, scores: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """C within pairs of the same photo year and age.

    Args:
        crops: Of a part of `public_figures`.
        scores: From `scores.score_faces`, of the same.
        resamples: Of persons.

    Returns:
        One row: `people`, `pairs`, `c`, `c_low`, `c_high`.
    """
    people = crops.table.select(["subject_id", "photo_year", "death_year", "age"]).to_pandas()
    # One photo a person, the first: pairs of somebody with himself would know the order.
    people = people.sort_values("photo_year").drop_duplicates("subject_id").merge(scores, on="subject_id")
    years = (people["death_year"] - people["photo_year"]).to_numpy(np.float64)
    found: Concordance = pair_concordance(
        people["score"].to_numpy(), years, np.ones(len(people), bool), pairs=alike_photos(people), resamples=resamples
    )
    return pd.DataFrame([{"people": len(people), **found._asdict()}])
