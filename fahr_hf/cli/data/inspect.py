"""`fahr-hf data inspect FOLDER`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    folder: Annotated[Path, typer.Argument(help="What `fahr-hf data build` or `fahr-hf data crops` wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for summary.json and a histogram of the ages, ages.png.")
    ] = None,
    contact_sheet: Annotated[
        bool,
        typer.Option(
            "--contact-sheet",
            help="With --out: also 64 faces of all ages, contact_sheet.png. Faces are biometric data: the picture is "
            "made only when asked for, stays on this machine, and is not to be passed on.",
        ),
    ] = False,
) -> None:
    """Tell what a data set or a folder of crops holds, before training on it.

    Photos and people by part, ages, the data set's labels of sex and race, missing values, and what was left out and
    why. But for the contact sheet only labels are read, so that a million photos take seconds.
    """
    from fahr_hf.data.summary import summarise

    if contact_sheet and out is None:
        raise ValueError("--contact-sheet draws a picture and needs a folder for it: give --out.")
    summary = summarise(folder)
    typer.echo(summary)
    if out is None:
        return
    import json
    from dataclasses import asdict

    from fahr_hf.data.figures import draw_ages, draw_contact_sheet

    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(asdict(summary), indent=1), encoding="utf-8")
    written = ["summary.json"]
    if summary.total.ages_known:
        draw_ages(summary).savefig(out / "ages.png")
        written.append("ages.png")
    if contact_sheet:
        draw_contact_sheet(summary).save(out / "contact_sheet.png")
        written.append("contact_sheet.png")
    typer.echo(f"wrote {', '.join(written)} to {out}")
