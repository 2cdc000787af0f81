"""The data sets that can be built by name: one module a set, with its reader, licence and citation.

Anything else is a folder of photos with a table, or without one: `fahr_hf.data.sources.table`.
"""

from fahr_hf.data.sources.agedb import AGEDB
from fahr_hf.data.sources.appa_real import APPA_REAL
from fahr_hf.data.sources.congress import CONGRESS
from fahr_hf.data.sources.fairface import FAIRFACE
from fahr_hf.data.sources.imdb_clean import IMDB_CLEAN
from fahr_hf.data.sources.lagenda import LAGENDA
from fahr_hf.data.sources.morph import MORPH
from fahr_hf.data.sources.public_figures import PUBLIC_FIGURES
from fahr_hf.data.sources.source import Column, Reject, Source
from fahr_hf.data.sources.table import table
from fahr_hf.data.sources.utkface import UTKFACE

__all__ = ["SOURCES", "Column", "Reject", "Source", "table"]

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        UTKFACE,
        IMDB_CLEAN,
        AGEDB,
        APPA_REAL,
        FAIRFACE,
        LAGENDA,
        MORPH,
        PUBLIC_FIGURES,
        CONGRESS,
    )
}
