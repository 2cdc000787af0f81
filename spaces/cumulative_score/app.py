"""The page of this Space: a table to fill in, and what the metric says about it. `python app.py` starts it."""

from pathlib import Path

import evaluate
import gradio
import pandas as pd

METRIC = evaluate.load(str(Path(__file__).with_name("cumulative_score.py")))
EXAMPLE = pd.DataFrame({"predictions": [33.0, 39.0, 61.5], "references": [30.0, 40.0, 70.0]})


def compute(table: pd.DataFrame) -> dict[str, float]:
    """Compute the metric of the rows of the table."""
    try:
        return METRIC.compute(**table.to_dict("list"))
    except ValueError as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    compute,
    gradio.Dataframe(EXAMPLE, datatype="number", column_count=(len(EXAMPLE.columns), "fixed")),
    gradio.JSON(label="cumulative_score"),
    title="Cumulative score of ages",
    description=METRIC.description,
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
