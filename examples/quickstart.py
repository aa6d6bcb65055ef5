"""A table that embeds itself on add and on search."""

import tempfile

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector

import lancedb_embedders  # noqa: F401  registers every function; loads no model

sbert = get_registry().get("sbert").create()


class Document(LanceModel):
    text: str = sbert.SourceField()
    vector: Vector(sbert.ndims()) = sbert.VectorField()  # type: ignore[valid-type]


with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("docs", schema=Document)
    table.add(
        [
            {"text": "Python is a programming language that reads well"},
            {"text": "Rust programs are fast and safe with memory"},
            {"text": "Sourdough bread needs flour, water, salt and time"},
        ]
    )
    for hit in table.search("baking at home").distance_type("cosine").limit(2).to_list():
        print(f"{1 - hit['_distance']:.3f}  {hit['text']}")
