"""``python -m lancedb_embedders``."""

from lancedb_embedders.cli import app

app(prog_name="lancedb-embedders")
