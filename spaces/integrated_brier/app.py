"""The page of this Space: a table to fill in, and what the metric says about it. `python app.py` starts it."""

from pathlib import Path

import evaluate
import gradio
import pandas as pd

METRIC = evaluate.load(str(Path(__file__).with_name("integrated_brier.py")))
# After duration and event, a column for each time, and the time is its name.
EXAMPLE = pd.DataFrame(
    {"duration": [1.0, 2.0, 3.0], "event": [1, 1, 0], "1.5": [0.2, 0.9, 0.9], "2.5": [0.1, 0.3, 0.9]}
)


def compute(table: pd.DataFrame) -> dict[str, float]:
    """Compute the metric of the rows of the table."""
    alive = table.columns[2:]
    predictions = table[alive].to_numpy().tolist()
    try:
        times = [float(name) for name in alive]
        return METRIC.compute(predictions=predictions, **table.iloc[:, :2].to_dict("list"), times=times)
    except ValueError as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    compute,
    gradio.Dataframe(EXAMPLE, datatype="number"),
    gradio.JSON(label="integrated_brier"),
    title="Integrated Brier score",
    description=METRIC.description,
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
