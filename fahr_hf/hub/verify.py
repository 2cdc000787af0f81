"""Does a checkpoint still answer as on the day it was published? `fahr_hf.verify` compares it with its golden vectors.

Other versions of a library move every answer a little. What was measured between the oldest and the newest supported
versions (torch 2.8 and 2.13, OpenCV 4.10 and 5.0, Pillow 10.3 and 13.0, x86 with and without wide instructions), and
what is tolerated:

| step | measured | tolerated |
|---|---|---|
| portrait to crop, mean difference of grey levels, 0 to 255 | 0.13 | 0.5 |
| stored crop to embedding, largest difference of a value (their spread is about 1) | 0.000001 | 0.00002 |
| stored crop to output, in years of age, or units of risk or loss | 0.000004 | 0.0002 |

A crop that moved by as much as measured takes the age that `fahr-faceage-tiny` gives the portrait from 35.95 to 36.17.
"""

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fahr_hf.embedded import locate
from fahr_hf.hub.golden import answer, open_checkpoint, portrait_crop, portrait_sha256, read_golden, versions

CROP_TOLERANCE = 0.5
EMBEDDING_TOLERANCE = 2e-5
OUTPUT_TOLERANCE = 2e-4


@dataclass(frozen=True)
class Step:
    """One comparison.

    Args:
        name: What was compared.
        difference: Found, infinite where shapes differ.
        tolerance: The largest difference that libraries explain.
    """

    name: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is tolerated; one that is no number is not."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """A checkpoint beside its golden vectors.

    Args:
        checkpoint: Folder or `org/name`.
        steps: Crop, embedding, and each output of the head.
        written_with: Versions of the libraries that wrote the golden vectors.
        computed_with: Versions of those that compared.
    """

    checkpoint: str
    steps: tuple[Step, ...]
    written_with: dict[str, str]
    computed_with: dict[str, str]

    def __str__(self) -> str:
        """A small table."""
        rows = [("", "difference", "tolerated", "")] + [
            (step.name, f"{step.difference:.2g}", f"{step.tolerance:.2g}", "ok" if step.ok else "DIFFERS")
            for step in self.steps
        ]
        width = max(len(row[0]) for row in rows)
        return "\n".join(f"{row[0]:{width}}  {row[1]:>10}  {row[2]:>9}  {row[3]}".rstrip() for row in rows)


class VerificationError(ValueError):
    """A checkpoint that answers otherwise than its golden vectors; `verification` says by how much."""

    def __init__(self, verification: Verification):
        self.verification = verification
        then, now = verification.written_with, verification.computed_with
        changed = [f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]]
        steps = ", ".join(
            f"{step.name} by {step.difference:.2g} (tolerated {step.tolerance:.2g})"
            for step in verification.steps
            if not step.ok
        )
        super().__init__(
            f"{verification.checkpoint!r} does not answer as its golden vectors say: {steps}. "
            + (f"Versions since: {'; '.join(changed)}. " if changed else "No library has another version since. ")
            + "Its files were changed or damaged, or a library changes answers; do not mix these with earlier answers."
        )


def verify(checkpoint: str | os.PathLike, revision: str | None = None) -> Verification:
    """Compute a checkpoint's golden vectors again, and compare.

    The crop is cut from the portrait; embedding and output are computed from the stored crop, so that each step is
    held to what is exact about it. Computed in float32 on the CPU, by the code of this package.

    Args:
        checkpoint: Name of an embedded checkpoint, folder, or `org/name` on the Hub.
        revision: Branch, tag or commit on the Hub.

    Returns:
        The differences, all tolerated.

    Raises:
        VerificationError: (a ValueError) a difference is not tolerated.
        ValueError: the checkpoint does not load, or its golden vectors are of another portrait.
        OSError: the checkpoint or its golden vectors are missing, or the Hub cannot be reached.

    Examples:
        >>> print(fahr_hf.verify("fahr-faceage-tiny"))  # doctest: +SKIP
                                difference  tolerated
        crop (grey levels)               0        0.5  ok
        embedding                        0      2e-05  ok
        age                              0     0.0002  ok
    """
    source = locate(checkpoint)
    golden = read_golden(source, revision)
    if golden.photo_sha256 != portrait_sha256():
        raise ValueError(
            f"The golden vectors of {source!r} are of another portrait (sha256 {golden.photo_sha256[:12]}...) than the "
            f"one in this version of fahr-hf ({portrait_sha256()[:12]}...). Take the version that wrote them: "
            f"{golden.versions.get('fahr-hf')}."
        )
    model, processor = open_checkpoint(source, revision)
    then, now = golden.answers, answer(model, processor, golden.crop)
    steps = (
        Step("crop (grey levels)", _differences(golden.crop, portrait_crop(processor)).mean(), CROP_TOLERANCE),
        Step("embedding", _differences(then.embedding, now.embedding).max(), EMBEDDING_TOLERANCE),
        *(
            Step(name, abs(then.output.get(name, math.nan) - now.output.get(name, math.nan)), OUTPUT_TOLERANCE)
            for name in sorted(then.output.keys() | now.output.keys())
        ),
    )
    verification = Verification(os.fspath(checkpoint), steps, golden.versions, versions())
    if not all(step.ok for step in steps):
        raise VerificationError(verification)
    return verification


def _differences(then: ArrayLike, now: ArrayLike) -> np.ndarray:
    then, now = np.asarray(then, np.float64), np.asarray(now, np.float64)
    return np.abs(then - now) if then.shape == now.shape else np.array(math.inf)
