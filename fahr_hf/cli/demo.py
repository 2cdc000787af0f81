"""`fahr-hf demo`."""

from typing import Annotated

import typer


def demo(
    model: Annotated[
        str | None,
        typer.Option(envvar="FAHR_FACE_MODEL", help="For ages: embedded checkpoint, folder, or org/name."),
    ] = None,
    survival_model: Annotated[
        str | None,
        typer.Option(
            envvar="FAHR_FACE_SURVIVAL_MODEL",
            help="Calibrated survival checkpoint, for the tab with positions in its cohort; there is none by default.",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; a free one from 7860 on by default.")] = None,
) -> None:
    """Start the demo in the browser, on this machine: research estimates, not medical advice.

    Photos stay on this machine, are held in a temporary folder until they are read, and nothing is logged. The demo has
    no accounts and no encryption; before others can reach it (GRADIO_SERVER_NAME=0.0.0.0), put it behind a server that
    has.
    """
    from fahr_hf.demo import run

    run(model, survival_model, port)
