"""The page and the API of the demo: controls around `Estimates`, and how both are served."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from transformers.utils import logging

from fahr_hf.demo import results
from fahr_hf.demo.estimates import Comparison, Estimates, Face, Person, Position, as_csv
from fahr_hf.demo.limits import Limits, megabytes
from fahr_hf.demo.uploads import Refusal, guard, take
from fahr_hf.hub.golden import PORTRAIT

_TITLE = "How old does a face look?"
_INTRODUCTION = """# How old does a face look?

A FAHR-Face model estimates an age from a photo. **These are research estimates**: no medical advice, no proof of
anybody's age, and no basis for a decision about a person. Use photos of yourself, or of people who agreed.
"""
_PRIVACY = """Nothing is logged. A photo is deleted from the server as soon as it has been read, and after ten minutes
if it never is; pictures and tables of an answer are kept in your browser alone. The ages come from the model `{model}`,
whose card names its data, errors and limits."""
_SURVIVAL = """The model ranks a face among the people of one cohort, *{cohort}*, by what went with earlier death **in
that cohort**. It knows nothing of your health and says nothing reliable about you. There is no answer for minors, and
none about how long anybody lives.
"""
_ACKNOWLEDGEMENT = (
    "The photo shows one adult who agreed to this. I understand that the answer is a rank within another group of "
    "people, and says nothing reliable about this person."
)
# The theme's own pairs of colours have too little contrast for small text: all of these have at least 4.5 to 1.
_READABLE = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_label_text_color": "*primary_800",
    "block_label_text_color_dark": "white",
    "block_label_background_fill_dark": "*primary_800",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_600",
    "button_secondary_background_fill_hover_dark": "*neutral_700",
    "color_accent": "*primary_700",
    "color_accent_soft": "*primary_100",
    "link_text_color": "*primary_800",
}
# Of uploads for which no answer was asked: every minute those of ten minutes ago are deleted.
_CLEANING = (60, 600)
_ZIP_AT_ONCE = 1
_AT_ONCE = 2


def build(model: str | None = None, survival_model: str | None = None, limits: Limits | None = None) -> gr.Blocks:
    """The demo, ready to be served.

    Args:
        model: For ages: an embedded checkpoint, a folder, or org/name on the Hub; the embedded default if None.
        survival_model: Likewise for positions within a cohort. Without it there is neither such a tab nor such a
            function.
        limits: What a visitor may send.

    Raises:
        ValueError: a model that cannot be used, or a survival model without a cohort's percentiles.
        OSError: a model that the Hub does not have, or that cannot be reached.
    """
    limits = limits or Limits()
    estimates = Estimates(model, survival_model, limits)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=_CLEANING) as page:
        gr.Markdown(_INTRODUCTION, elem_id="ff-introduction")
        with gr.Tabs():
            _photo_tab(estimates, limits)
            _person_tab(estimates, limits)
            _comparison_tab(estimates, limits)
            _archive_tab(estimates, limits)
            if estimates.cohort is not None:
                _survival_tab(estimates, estimates.cohort, limits)
        gr.Markdown(_PRIVACY.format(model=estimates.name), elem_id="ff-privacy")
        _api(estimates, limits)
    guard(page)
    return page.queue(max_size=limits.waiting, default_concurrency_limit=_AT_ONCE)


def run(model: str | None = None, survival_model: str | None = None, port: int | None = None) -> None:
    """Build the demo and serve it until the program is interrupted; uploads lie in a folder that goes with it.

    Args:
        model: As for `build`.
        survival_model: As for `build`.
        port: A free one from 7860 on if None.

    Raises:
        ValueError: as `build`.
        OSError: as `build`; or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="fahr-face-") as uploads:
        # Gradio looks for it whenever it makes a component, or takes an upload.
        os.environ["GRADIO_TEMP_DIR"] = uploads
        logging.disable_progress_bar()
        page = build(model, survival_model)
        print(f"The demo is at {serve(page, port=port)}; end it with Ctrl-C.", flush=True)
        page.block_thread()


def serve(page: gr.Blocks, limits: Limits | None = None, port: int | None = None) -> str:
    """Serve the demo on this machine, or where GRADIO_SERVER_NAME says, in a thread of its own.

    Args:
        page: What `build` gave.
        limits: The same as there.
        port: A free one from 7860 on if None.

    Returns:
        The address.

    Raises:
        OSError: the port is taken.
    """
    theme = gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        # Gradio's own fonts are fetched from elsewhere.
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(**_READABLE)
    _, address, _ = page.launch(
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=(limits or Limits()).archive_bytes,
        theme=theme,
        css_paths=Path(__file__).with_name("style.css"),
        footer_links=["api", "gradio"],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        share=False,
    )
    return address


def _photo_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(photo: Any) -> tuple[str, None]:
        content = take(photo, limits.photo_bytes)
        return results.faces(content, estimates.faces(content)), None

    def example() -> str:
        content = PORTRAIT.read_bytes()
        return results.faces(content, estimates.faces(content))

    with gr.Tab("One photo"):
        with gr.Row():
            with gr.Column():
                photo = _photo("Photo, from a file or the camera", ["upload", "webcam", "clipboard"])
                ask = gr.Button("Estimate the age", variant="primary")
                example_button = gr.Button("Try it with an example", size="sm")
                gr.Markdown(_photo_limits(limits))
            result = _result()
        _on_click(ask, answer, [photo], [result, photo], "page_age")
        _on_click(example_button, example, [], [result], "page_example")


def _person_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(photos: Any) -> tuple[str, None]:
        return results.person(estimates.person(_take_several(photos, limits))), None

    with gr.Tab("One person, several photos"):
        with gr.Row():
            with gr.Column():
                photos = gr.File(
                    label=f"2 to {limits.photos_of_person} photos of one person",
                    file_count="multiple",
                    file_types=["image"],
                    height=220,
                )
                ask = gr.Button("Estimate the age", variant="primary")
                gr.Markdown(
                    "The median over several photos is steadier than one photo. Nobody checks that they show the same "
                    "person. " + _photo_limits(limits)
                )
            result = _result()
        _on_click(ask, answer, [photos], [result, photos], "page_person")


def _comparison_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(first: Any, second: Any) -> tuple[str, None, None]:
        one, two = (take(photo, limits.photo_bytes) for photo in (first, second))
        return results.comparison(one, two, estimates.compare(one, two)), None, None

    with gr.Tab("Two photos"):
        with gr.Row():
            first, second = (_photo(f"{which} photo", ["upload", "clipboard"]) for which in ("First", "Second"))
        ask = gr.Button("Compare the ages", variant="primary")
        gr.Markdown("Of each photo the largest face counts. " + _photo_limits(limits))
        result = _result()
        _on_click(ask, answer, [first, second], [result, first, second], "page_compare")


def _archive_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(archive: Any) -> tuple[str, None]:
        return results.table(estimates.table(take(archive, limits.archive_bytes))), None

    with gr.Tab("Many photos"):
        with gr.Row():
            with gr.Column():
                archive = gr.File(label="Zip with photos", file_types=[".zip"], height=220)
                ask = gr.Button("Make a table of ages", variant="primary")
                gr.Markdown(
                    f"Up to {limits.archive_photos} photos, {megabytes(limits.archive_bytes)} as a zip and "
                    f"{megabytes(limits.archive_unpacked)} unpacked. For more there is `fahr-hf predict`."
                )
            result = _result()
        _on_click(ask, answer, [archive], [result, archive], "page_zip", at_once=_ZIP_AT_ONCE, group="zip")


def _survival_tab(estimates: Estimates, cohort: str, limits: Limits) -> None:
    def answer(photo: Any, acknowledged: bool) -> tuple[str, None, bool]:
        content = take(photo, limits.photo_bytes)
        return results.position(estimates.position(content, acknowledged)), None, False

    with gr.Tab("Position in a cohort"):
        gr.Markdown(_SURVIVAL.format(cohort=cohort))
        with gr.Row():
            with gr.Column():
                photo = _photo("Photo of one adult", ["upload"])
                acknowledged = gr.Checkbox(label=_ACKNOWLEDGEMENT)
                ask = gr.Button("Show the position", variant="primary")
                gr.Markdown(_photo_limits(limits))
            result = _result()
        _on_click(ask, answer, [photo, acknowledged], [result, photo, acknowledged], "page_survival")


def _api(estimates: Estimates, limits: Limits) -> None:
    """The documented functions; the help of each is what a user of the API reads."""

    def age(photo: FileData) -> list[Face]:
        """Age of every face in a photo, the largest face first. A research estimate."""
        return estimates.faces(take(photo, limits.photo_bytes))  # type: ignore[arg-type]

    def person(photos: list[FileData]) -> Person:
        """Median age and spread over several photos of one person; the largest face of each counts."""
        return estimates.person(_take_several(photos, limits))

    def compare(first: FileData, second: FileData) -> Comparison:
        """Ages of the largest faces of two photos, and the second less the first."""
        one, two = (take(photo, limits.photo_bytes) for photo in (first, second))  # type: ignore[arg-type]
        return estimates.compare(one, two)

    def zip_to_csv(archive: FileData) -> str:
        """Ages of the faces in a zip of photos, as the text of a csv with one row a face."""
        return as_csv(estimates.table(take(archive, limits.archive_bytes)))  # type: ignore[arg-type]

    def survival(photo: FileData, acknowledged: bool) -> Position:
        """Position of one adult's face within a cohort, which says nothing reliable about the person.

        `acknowledged` says that the photo shows one adult who agreed, and that this is understood.
        """
        return estimates.position(take(photo, limits.photo_bytes), acknowledged)  # type: ignore[arg-type]

    for function in (age, person, compare):
        gr.api(function, concurrency_id="photos", concurrency_limit=_AT_ONCE)
    gr.api(zip_to_csv, concurrency_id="zip", concurrency_limit=_ZIP_AT_ONCE)
    if estimates.cohort is not None:
        gr.api(survival, concurrency_id="photos", concurrency_limit=_AT_ONCE)


def _take_several(photos: Any, limits: Limits) -> list[bytes]:
    if not isinstance(photos, list) or not 2 <= len(photos) <= limits.photos_of_person:
        raise Refusal(f"Choose 2 to {limits.photos_of_person} photos.")
    return [take(photo, limits.photo_bytes) for photo in photos]


def _photo(label: str, sources: list[Any]) -> gr.Image:
    return gr.Image(label=label, sources=sources, type="filepath", height=300, buttons=[])


def _photo_limits(limits: Limits) -> str:
    return f"Up to {megabytes(limits.photo_bytes)} and {limits.photo_pixels // 10**6} million pixels a photo."


def _result() -> gr.HTML:
    """Where an answer appears; a screen reader reads it out."""
    return gr.HTML(elem_classes="ff-answer", js_on_load="element.setAttribute('aria-live', 'polite')", container=False)


def _on_click(
    button: gr.Button,
    function: Callable[..., Any],
    inputs: list[Any],
    outputs: list[Any],
    name: str,
    at_once: int = _AT_ONCE,
    group: str = "photos",
) -> None:
    """What a button does. Uploads come as they were sent (`preprocess`): Gradio would decode them without a limit."""
    button.click(
        function,
        inputs,
        outputs,
        api_name=name,
        api_visibility="undocumented",
        preprocess=False,
        show_progress="minimal",
        concurrency_limit=at_once,
        concurrency_id=group,
    )
