"""The page of this Space: a table to fill in, and what the metric says about it. `python app.py` starts it."""

from pathlib import Path

import evaluate
import gradio
import pandas as pd

METRIC = evaluate.load(str(Path(__file__).with_name("concordance_index.py")))
EXAMPLE = pd.DataFrame({"predictions": [0.3, 0.9, 0.1], "duration": [1.0, 2.0, 3.0], "event": [1, 1, 0]})


def compute(table: pd.DataFrame) -> dict[str, float]:
    """Compute the metric of the rows of the table."""
    try:
        return METRIC.compute(**table.to_dict("list"))
    except ValueError as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    compute,
    gradio.Dataframe(EXAMPLE, datatype="number", column_count=(len(EXAMPLE.columns), "fixed")),
    gradio.JSON(label="concordance_index"),
    title="Harrell's concordance index",
    description=METRIC.description,
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
