"""The page of the demo: controls around `Estimates`."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from fahr_hf.demo import results
from fahr_hf.demo.api import add_api
from fahr_hf.demo.estimates import Estimates
from fahr_hf.demo.limits import AT_ONCE, Limits, megabytes
from fahr_hf.demo.maps import draw
from fahr_hf.demo.uploads import guard, take, take_several
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
# Of uploads for which no answer was asked: every minute those of ten minutes ago are deleted.
_CLEANING = (60, 600)


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
        add_api(estimates, limits)
    guard(page)
    return page.queue(max_size=limits.waiting, default_concurrency_limit=AT_ONCE["photos"])


def _photo_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(photo: Any) -> tuple[str, None]:
        content = take(photo, limits.photo_bytes)
        return results.faces(content, estimates.faces(content)), None

    def explain(photo: Any) -> tuple[str, None]:
        content = take(photo, limits.photo_bytes)
        faces, crop, saliency = estimates.explain(content)
        return results.faces(content, faces, draw(crop, saliency)), None

    def example() -> str:
        content = PORTRAIT.read_bytes()
        return results.faces(content, estimates.faces(content))

    with gr.Tab("One photo"):
        with gr.Row():
            with gr.Column():
                photo = _photo("Photo, from a file or the camera", ["upload", "webcam", "clipboard"])
                ask = gr.Button("Estimate the age", variant="primary")
                explain_button = gr.Button("Show what the answer rests on")
                example_button = gr.Button("Try it with an example", size="sm")
                gr.Markdown(
                    _photo_limits(limits) + " What an answer rests on is shown for the largest face, and takes the "
                    "model about 50 times as long."
                )
            result = _result()
        _on_click(ask, answer, [photo], [result, photo], "page_age")
        _on_click(explain_button, explain, [photo], [result, photo], "page_saliency", group="maps")
        _on_click(example_button, example, [], [result], "page_example")


def _person_tab(estimates: Estimates, limits: Limits) -> None:
    def answer(photos: Any) -> tuple[str, None]:
        return results.person(estimates.person(take_several(photos, limits))), None

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
                    f"person. {_photo_limits(limits)} Together up to {megabytes(limits.upload_bytes)}."
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
        _on_click(ask, answer, [archive], [result, archive], "page_zip", group="zip")


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
        concurrency_limit=AT_ONCE[group],
        concurrency_id=group,
    )
