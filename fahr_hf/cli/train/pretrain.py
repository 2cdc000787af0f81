"""`fahr-hf train pretrain CROPS... --out FOLDER`."""

from pathlib import Path
from typing import Annotated

import typer

from fahr_hf.cli.train.options import Size, start_from


def pretrain(
    crops: Annotated[
        list[Path], typer.Argument(help="Folders that `fahr-hf data crops` filled; with --stream also WebDataset tars.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was begun is continued.")],
    start: Annotated[
        str | None, typer.Option(help="Checkpoint to start from: embedded, a folder, or org/name.")
    ] = None,
    size: Annotated[Size, typer.Option(help="Without --start: size of the new model.")] = Size.tiny,
    patch_size: Annotated[int, typer.Option(min=4, help="Without --start: side of a patch in pixels.")] = 16,
    epochs: Annotated[int, typer.Option(min=1)] = 800,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops that a process takes at once.")] = 256,
    accumulation: Annotated[int, typer.Option(min=1, help="Such batches a step.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; by default 1.5e-4 for each 256 crops of a step.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Read crops as they are needed, not into memory.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load, beside the one that trains.")] = 1,
) -> None:
    """Pre-train a masked autoencoder on aligned crops, without any label.

    It learns from the part `train` of every folder. On the part `validation` it reports the loss, and where ages are
    known how well a linear probe reads them off the frozen features; pictures show what it reconstructs. Run it under
    `torchrun` or `accelerate launch` to use several processes. The finished model lies in the run's folder, under
    `model`; `fahr-hf train age --start` goes on from there.
    """
    import torch
    from accelerate import PartialState

    from fahr_hf.hub.cards import write_card
    from fahr_hf.hub.origin import record_origin
    from fahr_hf.models.modeling_fahr_face import FahrFaceForPreTraining
    from fahr_hf.training.pretraining import load_pretraining_crops, pretraining_settings
    from fahr_hf.training.pretraining import pretrain as run

    torch.manual_seed(seed)
    shape = {"size": size, "patch_size": patch_size}
    model, processor, _ = start_from(start, crops, FahrFaceForPreTraining, shape, head={})
    samples, frames, validation = load_pretraining_crops(crops, stream, seed)
    processes = PartialState(cpu=not torch.accelerator.is_available()).num_processes
    settings = pretraining_settings(epochs, batch_size, accumulation, processes, learning_rate, seed)
    run(model, processor, samples, frames, validation, settings, out, workers)
    if PartialState().is_main_process:
        record_origin(out, start, crops)
        write_card(out)
        typer.echo(f"{out / 'model'}: a FahrFaceForPreTraining, trained on {len(samples)} crops")
    PartialState().destroy_process_group()
