"""How the demo is served: until it is interrupted, or in a thread of its own."""

import os
import tempfile
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from transformers.utils import logging

from fahr_hf.demo.limits import Limits
from fahr_hf.demo.page import build
from fahr_hf.demo.uploads import BoundedBodies

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
    limits = limits or Limits()
    _, address, _ = page.launch(
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=limits.archive_bytes,
        app_kwargs={"middleware": [Middleware(BoundedBodies, limits=limits)]},
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
