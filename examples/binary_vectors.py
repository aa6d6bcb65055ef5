"""One bit a dimension: a column 32 times smaller, searched by Hamming distance."""

import tempfile

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

import lancedb_embedders  # noqa: F401

sbert = get_registry().get("sbert").create(quantization="binary")


class Document(LanceModel):
    text: str = sbert.SourceField()
    vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]


with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("docs", schema=Document)
    table.add(
        [
            {"text": "The museum opens at nine"},
            {"text": "Trains to the coast leave every hour"},
            {"text": "The painting was restored last year"},
        ]
    )
    print(table.schema.field("vector").type)
    for hit in table.search("rail timetable").distance_type("hamming").limit(1).to_list():
        print(f"{hit['_distance']:.0f} of 384 bits differ: {hit['text']}")
