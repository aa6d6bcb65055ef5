"""Give a table that exists its vectors, change texts and model, and look it over."""

from __future__ import annotations

import tempfile

import lancedb

from lancedb_embedders import SbertEmbeddings, tables

NOTES = [
    {"id": 1, "text": "Boats leave the harbour at nine."},
    {"id": 2, "text": "The museum is closed on Mondays."},
    {"id": 3, "text": "Green tea is steeped at 80 degrees."},
]

with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("notes", NOTES)  # no vectors, no function

    print(tables.attach(table, "text", "vector", SbertEmbeddings.create()))
    print(table.search("When can I take the ferry?").limit(1).to_list()[0]["text"])

    table.update(where="id = 2", values={"text": "The ferry leaves at ten."})
    print(tables.refresh(table))

    print(tables.reembed(table, SbertEmbeddings.create(truncate_dim=128)))
    print(tables.check(table))
