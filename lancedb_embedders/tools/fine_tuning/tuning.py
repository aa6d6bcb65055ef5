"""`fine_tune`: train a model of texts further, on pairs of one's own."""

from __future__ import annotations

import hashlib
import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning
from lancedb_embedders.extras import require
from lancedb_embedders.tools.fine_tuning.base import Base, base_of
from lancedb_embedders.tools.fine_tuning.data import TrainingSet, prepared, training_set
from lancedb_embedders.tools.fine_tuning.evaluation import Evaluation, evaluation_of
from lancedb_embedders.tools.fine_tuning.folder import opened
from lancedb_embedders.tools.fine_tuning.result import FineTuneResult
from lancedb_embedders.tools.fine_tuning.trainer import Plan, loss_name
from lancedb_embedders.tools.fine_tuning.training import train_base

__all__ = ["FineTuneResult", "fine_tune"]


def fine_tune(
    model: Any,
    train: Any,
    *,
    output: str | os.PathLike[str],
    evaluation: Any = None,
    loss: str | None = None,
    epochs: float = 3,
    batch_size: int = 32,
    learning_rate: float = 2e-5,
    warmup: float = 0.1,
    weight_decay: float = 0.0,
    matryoshka_dims: Sequence[int] | None = None,
    max_length: int | None = None,
    seed: int = 0,
    early_stopping: int | None = None,
    checkpoint_steps: int | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> FineTuneResult:
    """Train a model of texts further.

    Nothing is downloaded for the training itself, and nothing is sent anywhere. A run that was
    killed goes on from its last checkpoint when it is called again with the same arguments; one
    that is done returns its result again. The same seed gives the same weights on the same machine
    with the same number of threads; a GPU may differ in the last digits.

    Parameters
    ----------
    model : Embedder or str or os.PathLike
        A function with a model on this machine, its registry name, or the name or folder of a
        model; looked up as functions do.
    train : iterable, table, str or os.PathLike
        Rows of two texts and a score, or of query, positive and negatives; see
        `lancedb_embedders.tools.fine_tuning.data.training_set`.
    output : str or os.PathLike
        Folder for the model. Beside it, ``<output>.training`` holds checkpoints meanwhile.
    evaluation : object, optional
        What to measure before, while and after: scored pairs, a retrieval set, labelled texts; see
        `lancedb_embedders.tools.fine_tuning.evaluation.evaluation_of`. The best checkpoint by it is
        kept, so it is no measure of how good the model is on what chose nothing.
    loss : str, optional
        For pairs without a score ``"multiple-negatives-ranking"`` (default; the other rows of a
        batch are negatives too, and no text is in a batch twice) or
        ``"cached-multiple-negatives-ranking"`` (the same in less memory, for large batches); with a
        score ``"cosent"`` (default) or ``"cosine-similarity"``.
    epochs : float, default 3
        Passes over the rows.
    batch_size : int, default 32
        Rows a step.
    learning_rate : float, default 2e-5
        The highest; it rises over the warmup and then falls to 0 in a line.
    warmup : float, default 0.1
        Share of the steps, 0 to less than 1.
    weight_decay : float, default 0.0
        Of AdamW.
    matryoshka_dims : sequence of int, optional
        Dimensions to which vectors may be cut later (`truncate_dim`); the whole size is added.
    max_length : int, optional
        Tokens of a text that are trained on: shorter is faster. The model keeps its own length.
    seed : int, default 0
        Of shuffling and dropout.
    early_stopping : int, optional
        Evaluations in a row without a new best after which to stop.
    checkpoint_steps : int, optional
        Steps between checkpoints, and evaluations; None: at the end of each epoch.
    resume : bool, default True
        False: throw away checkpoints, and a model that an earlier call made in `output`.
    progress : bool, optional
        Show a bar; None: on a terminal.

    Returns
    -------
    FineTuneResult
        With the folder, and the figures before and after.

    Raises
    ------
    InputError
        A row that cannot be trained on, with its number.
    ConfigurationError
        Options that do not fit; `output` holds something else.
    MissingExtraError
        Without ``pip install "lancedb-embedders[train]"``.

    Warns
    -----
    EmbeddingWarning
        The figure fell; or texts of the evaluation are trained on.
    """
    require("train", "fine-tuning")
    start = time.perf_counter()
    rows = training_set(train)
    measured = None if evaluation is None else evaluation_of(evaluation)
    plan = Plan(
        loss=loss_name(loss, rows.kind),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        matryoshka_dims=tuple(sorted(set(matryoshka_dims or ()), reverse=True)),
        max_length=max_length,
        seed=seed,
        early_stopping=early_stopping,
        checkpoint_steps=checkpoint_steps,
    )
    _check(plan, rows, measured)
    _report_leaks(rows, measured)
    base = base_of(model)
    _check_dims(plan, base)
    rows = prepared(rows, base.function.prepare)
    folder = Path(output).expanduser().absolute()
    with opened(folder, _identity(rows, plan, base, measured), resume) as work:
        if work.finished is not None:
            return FineTuneResult.from_dict({**work.finished, "folder": str(folder)})
        result = train_base(base, rows, plan, measured, work, progress)
        result = replace(result, seconds=time.perf_counter() - start)
        work.finish(result.to_dict())
    if result.before is not None and result.after is not None and result.after < result.before:
        warnings.warn(
            f"{result.metric} fell from {result.before:.2f} to {result.after:.2f}: by this "
            f"evaluation the model in {folder} is worse than {result.model}. More or cleaner rows, "
            "a smaller learning_rate or fewer epochs may help",
            EmbeddingWarning,
            stacklevel=2,
        )
    return result


def _check(plan: Plan, rows: TrainingSet, measured: Evaluation | None) -> None:
    least = 2 if rows.kind == "ranking" else 1
    if plan.batch_size < least:
        why = ": a row is compared with the others of its batch" if least == 2 else ""
        raise ConfigurationError(f"batch_size={plan.batch_size} must be {least} or more{why}")
    if rows.kind == "ranking" and len(rows.rows) == 1 and not rows.rows[0].negatives:
        raise ConfigurationError("one pair without a negative teaches nothing; give more rows")
    if rows.kind == "scored" and len({row.score for row in rows.rows}) == 1:
        raise ConfigurationError(
            "all rows have the same score, which teaches nothing; pairs that belong together go "
            "without a score, as (query, positive)"
        )
    for name, value, fits, wanted in (
        ("epochs", plan.epochs, plan.epochs > 0, "more than 0"),
        ("learning_rate", plan.learning_rate, plan.learning_rate > 0, "more than 0"),
        ("warmup", plan.warmup, 0 <= plan.warmup < 1, "a share, 0 to less than 1"),
        ("weight_decay", plan.weight_decay, plan.weight_decay >= 0, "0 or more"),
        ("max_length", plan.max_length, (plan.max_length or 8) >= 8, "8 or more"),
        ("seed", plan.seed, 0 <= plan.seed < 2**32, "0 to 2**32 - 1"),
        ("early_stopping", plan.early_stopping, (plan.early_stopping or 1) >= 1, "1 or more"),
        ("checkpoint_steps", plan.checkpoint_steps, (plan.checkpoint_steps or 1) >= 1, "1 or more"),
    ):
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigurationError(f"{name}={value} must be {wanted}")
    if plan.early_stopping is not None and measured is None:
        raise ConfigurationError("early_stopping needs an evaluation to stop by")


def _check_dims(plan: Plan, base: Base) -> None:
    whole = base.model.get_embedding_dimension()
    wrong = [dim for dim in plan.matryoshka_dims if not 1 <= dim <= whole]
    if wrong:
        raise ConfigurationError(
            f"matryoshka_dims: {wrong[0]} is not among the {whole} dimensions that "
            f"{base.function.name} gives; use 1 to {whole}"
        )


def _report_leaks(rows: TrainingSet, measured: Evaluation | None) -> None:
    leaked = set() if measured is None else measured.texts.intersection(rows.texts())
    if measured is not None and leaked:
        warnings.warn(
            f"{len(leaked):,} of {len(measured.texts):,} texts of the evaluation are trained on "
            f"(like {min(leaked)[:60]!r}): its figure says less about new texts than it seems to",
            EmbeddingWarning,
            stacklevel=3,
        )


def _identity(
    rows: TrainingSet, plan: Plan, base: Base, measured: Evaluation | None
) -> dict[str, Any]:
    held_out = None if measured is None else [measured.metric, *sorted(measured.texts)]
    return {
        **asdict(plan),
        "train": hashlib.blake2b(repr(rows).encode(), digest_size=16).hexdigest(),
        "evaluation": hashlib.blake2b(repr(held_out).encode(), digest_size=16).hexdigest(),
        "model": base.digest(),
        "function": f"{base.function.registry_name} {base.function.identity()}",
    }
