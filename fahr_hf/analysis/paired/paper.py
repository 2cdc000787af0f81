"""What is known of the paper's tests of robustness (FAHR-Face, arXiv 2506.14909), to stand beside one's own figures.

Not known to us, and so not here: its statistical method, any intraclass correlation, numbers of people, intervals.
"""

from dataclasses import dataclass

CERTAINTY = {
    "A": "read in a primary source",
    "B": "read in a secondary source, other people's notes on the paper",
    "C": "our arithmetic or inference",
}
"""What the letters mean."""


@dataclass(frozen=True)
class PaperFigure:
    """One condition of the paper.

    Args:
        condition: What was changed.
        figure: Which figure is known, in years of predicted age.
        years: Its range, both ends the same where one number is known; None where no number is.
        certainty: A key of `CERTAINTY`.
        note: What is said of it beyond the number.
    """

    condition: str
    figure: str
    years: tuple[float, float] | None
    certainty: str
    note: str


_ABSOLUTE, _MEAN = "mean absolute change", "mean change"
_UNBIASED = "Mean shifts are reported as unbiased; no number is known."
_SURGERY = "No significant change is reported. That does not show that the answer is stable."

PAPER = (
    PaperFigure("make-up", _ABSOLUTE, (4.37, 4.37), "B", _UNBIASED),
    PaperFigure("light against dark", _ABSOLUTE, (2.35, 2.35), "B", _UNBIASED),
    PaperFigure("neutral against smile", _ABSOLUTE, (2.19, 2.19), "B", _UNBIASED),
    PaperFigure("head turned by 22.5 degrees", _ABSOLUTE, (1.1, 1.2), "B", _UNBIASED),
    PaperFigure("eyelid surgery", _MEAN, None, "B", _SURGERY),
    PaperFigure("eyebrow surgery", _MEAN, None, "B", _SURGERY),
    PaperFigure("facelift", _MEAN, None, "B", _SURGERY),
    PaperFigure("facial-bone surgery", _MEAN, None, "B", _SURGERY),
    PaperFigure("nose surgery", _MEAN, (1.1, 1.1), "B", "An approximate number; people look older after it."),
)
"""What the paper found for predicted age."""
