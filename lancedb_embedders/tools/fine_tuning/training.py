"""One training: measure, train, save, measure again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.fine_tuning.base import Base
from lancedb_embedders.tools.fine_tuning.card import write_card
from lancedb_embedders.tools.fine_tuning.data import TrainingSet
from lancedb_embedders.tools.fine_tuning.evaluation import Evaluation
from lancedb_embedders.tools.fine_tuning.folder import Work
from lancedb_embedders.tools.fine_tuning.result import FineTuneResult
from lancedb_embedders.tools.fine_tuning.trainer import Plan, quiet, run


def train_base(
    base: Base,
    rows: TrainingSet,
    plan: Plan,
    measured: Evaluation | None,
    work: Work,
    progress: bool | None,
) -> FineTuneResult:
    """Train a model and save it to `work.model`, with its card.

    Parameters
    ----------
    base : Base
        The model; its weights change.
    rows : TrainingSet
        What to learn.
    plan : Plan
        How.
    measured : Evaluation or None
        What to measure before, while and after.
    work : Work
        Where checkpoints and the model go.
    progress : bool or None
        Whether to show a bar; None: on a terminal.
    """
    dims = [dim for dim in plan.matryoshka_dims if dim < base.model.get_embedding_dimension()]
    sizes = [None, *dims]
    before = work.remember("before", lambda: _figures(base, base.function, measured, sizes))
    length, live = base.length, base.live()
    if plan.max_length is not None and (length is None or plan.max_length < length):
        base.model.max_seq_length = plan.max_length
    with progress_bar(None, "steps", progress, desc="Training") as bar:

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        score = None if measured is None else (lambda: measured.measure(live))
        trained = run(base.model, rows, plan, dict(base.prompts), score, work.checkpoints, step)
    if plan.max_length is not None:
        base.model.max_seq_length = length
    with quiet():
        base.model.save_pretrained(str(work.model), create_model_card=False)
    after = _figures(base, base.reopened(work.model), measured, sizes)
    names = ("epochs", "batch_size", "learning_rate", "warmup", "weight_decay", "max_length")
    result = FineTuneResult(
        folder=work.folder,
        function=str(base.function.registry_name),
        model=base.function.name,
        rows=len(rows.rows),
        loss=plan.loss,
        metric=None if measured is None else measured.metric,
        before=before[0] if before else None,
        after=after[0] if after else None,
        by_dims=dict(zip(dims, zip(before[1:], after[1:], strict=True), strict=False)),
        losses=trained.losses,
        scores=trained.scores,
        steps=trained.steps,
        best_step=trained.best_step,
        resumed_at=trained.resumed_at,
        seconds=0.0,
        seed=plan.seed,
        options={name: getattr(plan, name) for name in names},
    )
    write_card(work.model, result, base.function.languages())
    return result


def _figures(
    base: Base, function: Any, measured: Evaluation | None, sizes: Sequence[int | None]
) -> list[float]:
    if measured is None:
        return []
    return [
        float(measured.measure(function if size is None else base.cut(function, size)))
        for size in sizes
    ]
