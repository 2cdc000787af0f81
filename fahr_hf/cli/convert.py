"""`fahr-hf convert SOURCE OUT`."""

from typing import Annotated

import typer


def convert(
    source: Annotated[str, typer.Argument(help="Weight file, checkpoint folder, or Hub repository.")],
    out: Annotated[str, typer.Argument(help="Folder to write.")],
    num_attention_heads: Annotated[int | None, typer.Option(help="Attention heads of the encoder.")] = None,
    layer_norm_eps: Annotated[
        float | None, typer.Option(help="1e-6 in the original MAE code; its Hugging Face ports say 1e-12.")
    ] = None,
    image_mean: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Mean of R, G, B for pixels in 0..1.")
    ] = None,
    image_std: Annotated[tuple[float, float, float] | None, typer.Option(help="Standard deviation of R, G, B.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="'arcface', or five landmarks of a 112-pixel crop: 'x,y x,y x,y x,y x,y'."),
    ] = None,
    decoder_num_attention_heads: Annotated[int | None, typer.Option(help="With a decoder: its heads.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="With a decoder: share of hidden patches.")] = None,
    norm_pix_loss: Annotated[
        bool | None, typer.Option(help="With a decoder: whether it predicts normalised pixels.")
    ] = None,
    age_head: Annotated[
        str | None, typer.Option(help="Key, without '.weight', of the linear layer that gives the age.")
    ] = None,
    min_age: Annotated[int | None, typer.Option(help="For an age head with several outputs: age of the first.")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Key, or its first parts, to leave out; repeatable.")
    ] = None,
) -> None:
    """Carry a foreign checkpoint (HF ViTMAE, original MAE, timm ViT, official FAHR-Face) over, strictly.

    What tensors cannot show is taken from the source's own configuration, or asked for; it is never guessed. The
    result records in conversion.json where every value and every tensor came from.
    """
    from fahr_hf.conversion import convert as run
    from fahr_hf.conversion import parse_template

    report = run(
        source,
        out,
        num_attention_heads=num_attention_heads,
        layer_norm_eps=layer_norm_eps,
        image_mean=image_mean,
        image_std=image_std,
        template=None if template is None else parse_template(template),
        decoder_num_attention_heads=decoder_num_attention_heads,
        mask_ratio=mask_ratio,
        norm_pix_loss=norm_pix_loss,
        age_head=age_head,
        min_age=min_age,
        leave_out=leave_out or (),
    )
    typer.echo(f"{out}: {report.architecture}, {len(report.tensors)} tensors from {report.source}")
    for name, entry in report.settings.items():
        typer.echo(f"  {name} = {entry['value']} ({entry['from']})")
    for key, reason in report.left_out.items():
        typer.echo(f"  left out: {key} ({reason})")
    if report.ignored_entries:
        typer.echo(f"  ignored beside the weights: {', '.join(report.ignored_entries)}")
