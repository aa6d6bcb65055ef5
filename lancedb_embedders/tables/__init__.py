"""A table over time: give it vectors, move it to another model, keep it up to date, look it over.

>>> from lancedb_embedders import tables
>>> tables.attach.__name__, tables.reembed.__name__, tables.check.__name__
('attach', 'reembed', 'check')
"""

from lancedb_embedders.tables.attach import attach
from lancedb_embedders.tables.check import check
from lancedb_embedders.tables.check_report import ColumnCheck, TableCheck
from lancedb_embedders.tables.chunks import chunk_documents
from lancedb_embedders.tables.discard import discard
from lancedb_embedders.tables.ingest import IngestReport, ingest
from lancedb_embedders.tables.reembed import reembed, refresh
from lancedb_embedders.tables.report import Estimate, Report
from lancedb_embedders.tables.upsert import UpsertReport, upsert

__all__ = [
    "ColumnCheck",
    "Estimate",
    "IngestReport",
    "Report",
    "TableCheck",
    "UpsertReport",
    "attach",
    "check",
    "chunk_documents",
    "discard",
    "ingest",
    "reembed",
    "refresh",
    "upsert",
]
