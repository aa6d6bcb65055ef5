"""What attach, reembed and refresh share: making the job, filling, indexes, tidying up."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    ModelDriftError,
)
from lancedb_embedders.tables import indexes
from lancedb_embedders.tables.commit import change_metadata
from lancedb_embedders.tables.engines import engine_of
from lancedb_embedders.tables.estimate import estimate
from lancedb_embedders.tables.fill import fill
from lancedb_embedders.tables.job import FunctionSpec, Job, Kind, Selection, column_type, spec_of
from lancedb_embedders.tables.parts import PREFIX, Parts, drop_folder, unfinished
from lancedb_embedders.tables.place import Place, reason_of
from lancedb_embedders.tables.recorded import (
    Recorded,
    Work,
    hash_column,
    hash_name,
    with_function,
    without_indexes,
    work_on,
)
from lancedb_embedders.tables.report import Estimate, Report

# Values that are shown to the function before anything is begun.
_TRIED = 20


@dataclass(frozen=True)
class Options:
    """How a work is to be done; see `attach`."""

    dry_run: bool = False
    engine: str = "local"
    workers: int | None = None
    gpus: float | None = None
    checkpoint_rows: int | None = None
    progress: bool | None = None


def new_column(
    table: Any,
    place: Place,
    source: str,
    vector: str,
    function: Embedder,
    content_hash: bool,
    options: Options,
) -> Report | Estimate:
    """Fill a column that takes the place of the one of its name, with the function noted."""
    run = engine_of(options.engine, options.workers, options.gpus)
    dataset = place.dataset()
    _try(dataset, source, function)
    hashed = free_hash_name(dataset.schema, vector) if content_hash else None
    job = Job(place, source, vector, hashed, spec_of(function), column_type(function))
    parts = Parts(job)
    if options.dry_run:
        return estimate(job, function, parts.finished(), options.workers)
    job = dataclasses.replace(job, function=parts.begin(job.function))
    added = Recorded(vector, source, job.function.name, job.function.options)

    def metadata(newest: Any) -> dict[str, str]:
        old = newest.schema.field(vector).type if vector in newest.schema.names else None
        table.checkout_latest()
        described = indexes.described(table, newest, vector) if old is not None else ()
        fitted = tuple(indexes.fitted(one, job.dtype, old) for one in described)
        return with_function(newest.schema, added, hashed, Work(job.key, fitted))

    report = fill(job, run, metadata, options.checkpoint_rows, options.progress)
    # Others may have written with what they knew of the table before.
    late = dataclasses.replace(job, selection=Selection("late"))
    fill(late, run, None, options.checkpoint_rows, options.progress)
    return dataclasses.replace(report, **finish(table, place, vector, parts))


def within_column(
    table: Any,
    place: Place,
    known: Recorded,
    function: Embedder,
    selection: Selection,
    options: Options,
) -> Report | Estimate:
    """Replace vectors of a column whose function stays."""
    run = engine_of(options.engine, options.workers, options.gpus)
    schema = place.dataset().schema
    hashed = hash_column(schema, known.vector)
    # As the table has it: its options decide, this process's own are added.
    spec = dataclasses.replace(spec_of(function), options=known.options)
    dtype = schema.field(known.vector).type
    job = Job(place, known.source, known.vector, hashed, spec, dtype, selection)
    parts = Parts(job)
    if options.dry_run:
        return estimate(job, function, parts.finished(), options.workers)
    report = fill(job, run, None, options.checkpoint_rows, options.progress)
    return dataclasses.replace(report, **finish(table, place, known.vector, parts, report.changed))


def keep_hashes(table: Any, place: Place, known: Recorded, options: Options) -> None:
    """Make a column of hashes of what stands in the source now."""
    schema = place.dataset().schema
    hashed = free_hash_name(schema, known.vector)
    spec = FunctionSpec(known.name, known.options)
    dtype = schema.field(known.vector).type
    selection = Selection("hashes")
    job = Job(place, known.source, known.vector, hashed, spec, dtype, selection)
    run = engine_of(options.engine, options.workers, options.gpus)

    def metadata(newest: Any) -> dict[str, str]:
        return with_function(newest.schema, known, hashed, work_on(newest.schema, known.vector))

    fill(job, run, metadata, options.checkpoint_rows, options.progress)
    finish(table, place, known.vector, Parts(job))


def finish(
    table: Any, place: Place, vector: str, parts: Parts, extend: bool = False
) -> dict[str, Any]:
    """Build what indexes are to be built, delete what is no longer needed; returns report fields.

    A process that was killed before leaves the indexes noted in the table, for the next call.
    """
    table.checkout_latest()
    schema = place.dataset().schema
    work = work_on(schema, vector)
    pending = () if work is None else work.indexes
    built = tuple(index["name"] for index in pending if _build(table, vector, index))
    if pending:
        change_metadata(place, without_indexes(schema, vector))
    elif extend:
        indexes.extend(place.dataset(), table, vector)
    # Of this call, and of one that was killed when all but this was done.
    ended: tuple[Kind, ...] = ("late", "hashes")
    keys = [dataclasses.replace(parts.job, selection=Selection(kind)).key for kind in ended]
    keys += [work.job] if work else []
    for folder in {parts.folder, *(PREFIX + key for key in keys)}.intersection(unfinished(place)):
        drop_folder(place, folder)
    table.checkout_latest()
    return {"version": table.version, "indexes": built}


def _build(table: Any, vector: str, index: dict[str, Any]) -> bool:
    try:
        indexes.build(table, vector, index)
        return True
    except (ValueError, RuntimeError, OSError) as error:
        # The vectors are in the table, and an error would be the same the next time.
        reason = reason_of(error)
        warnings.warn(
            f"the index {index['name']!r} of {vector!r} could not be built again: {reason}. It was "
            f"{index['type']} with {index['options']}; until there is one, searches look at all "
            "rows",
            EmbeddingWarning,
            stacklevel=4,
        )
        return False


def same_function(known: Recorded, function: Embedder) -> bool:
    """Tell whether a table's column has this function, and the model is the same as then."""
    if known.name != function.registry_name:
        return False
    recorded = type(function).create(**known.options)
    if recorded != type(function).create(**function.safe_model_dump()):
        return False
    if recorded.signature is not None:  # of a model on this machine: it guards itself
        try:
            recorded.compute_source_embeddings(["Is this still the same model?"])
        except ModelDriftError:
            return False
    return True


def free_hash_name(schema: pa.Schema, vector: str) -> str:
    """Return the name for a column of hashes.

    Raises
    ------
    ConfigurationError
        The table has a column of that name for something else.
    """
    name = hash_name(vector)
    if name in schema.names and hash_column(schema, vector) is None:
        raise ConfigurationError(
            f"the table has a column {name!r} of its own, where content hashes would go; name "
            "another vector column, or leave hashes out with content_hash=False"
        )
    return name


def _try(dataset: Any, source: str, function: Embedder) -> None:
    """Show the function some values, so that a column that it cannot take is refused at once."""
    values = dataset.scanner(columns=[source], limit=_TRIED).to_table()[source]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function.batch_of(values, "document")
        except InputError as error:
            raise ConfigurationError(
                f"{function.registry_name} cannot embed column {source!r}, which is "
                f"{values.type}: {error}"
            ) from None
