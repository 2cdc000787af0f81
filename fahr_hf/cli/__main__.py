"""`python -m fahr_hf.cli`, for programs that start modules, such as `torchrun` and `accelerate launch`."""

from fahr_hf.cli import app

app()
