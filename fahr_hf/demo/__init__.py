"""The demo in the browser: photos in, ages out, as a page and as an API; the Space and `fahr-hf demo` are both this.

An upload flows one way: `uploads` reads it within `limits` and has it deleted, `archives` opens a zip, `estimates` asks
the models, `maps` draws what an age rests on, and `results` writes the answer as HTML. `page` puts controls around all
that, `api` functions, and `serving` brings both onto the network. Answers, pictures and tables are made in memory, and
none of them is written to disk.
"""

import contextlib

# On ZeroGPU this has to come before torch; elsewhere there is no such package.
with contextlib.suppress(ImportError):
    import spaces  # noqa: F401

from fahr_hf.demo.limits import Limits
from fahr_hf.demo.page import build
from fahr_hf.demo.serving import run, serve

__all__ = ["Limits", "build", "run", "serve"]
