"""The page of this Space, which is `fahr-hf demo` with models named by the Space's variables."""

import os

from fahr_hf.demo import run

run(os.environ.get("FAHR_FACE_MODEL"), os.environ.get("FAHR_FACE_SURVIVAL_MODEL"))
