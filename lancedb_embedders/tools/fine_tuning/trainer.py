"""The trainer of sentence-transformers, without what asks the network or hides a failure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.fine_tuning.columns import columns_of, roles_of
from lancedb_embedders.tools.fine_tuning.data import TrainingSet
from lancedb_embedders.tools.fine_tuning.folder import COMPLETE

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

#: Losses by name, for the kind of rows that they are for; the first of a kind is the default.
LOSSES: dict[str, tuple[str, ...]] = {
    "ranking": ("multiple-negatives-ranking", "cached-multiple-negatives-ranking"),
    "scored": ("cosent", "cosine-similarity"),
}
_KEPT = 2  # checkpoints: the best, and the last
_LOGGED = 20  # losses to report


@dataclass(frozen=True)
class Plan:
    """How to train; the fields are those of `fine_tune`."""

    loss: str
    epochs: float
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    matryoshka_dims: tuple[int, ...]
    max_length: int | None
    seed: int
    early_stopping: int | None
    checkpoint_steps: int | None


@dataclass(frozen=True)
class Trained:
    """What became of a training.

    Attributes
    ----------
    losses : tuple of (int, float)
        Step, and the mean loss of the steps since the one before.
    scores : tuple of (int, float)
        Step, and what the evaluation gave.
    steps, best_step : int
        Steps that were made, and the one whose weights are kept.
    resumed_at : int
        Step of the checkpoint that it went on from; 0: it began anew.
    """

    losses: tuple[tuple[int, float], ...]
    scores: tuple[tuple[int, float], ...]
    steps: int
    best_step: int
    resumed_at: int


def loss_name(given: str | None, kind: str) -> str:
    """Return the name of the loss for rows of a kind.

    Raises
    ------
    ConfigurationError
        There is no such loss, or it is for rows of the other kind.
    """
    if given is None:
        return LOSSES[kind][0]
    if given not in LOSSES[kind]:
        known = given in [name for names in LOSSES.values() for name in names]
        shown = "rows with a score" if kind == "scored" else "rows of query and positive"
        raise ConfigurationError(
            f"loss {given!r} is {'not for' if known else 'not known;'} {shown}"
            f"{';' if known else ''} take one of: {', '.join(LOSSES[kind])}"
        )
    return given


def run(
    model: SentenceTransformer,
    rows: TrainingSet,
    plan: Plan,
    prompts: Mapping[Any, str],
    score: Callable[[], float] | None,
    folder: Path,
    bar: Callable[[int, int], None],
) -> Trained:
    """Train a model in place, from the last checkpoint in `folder` if there is one.

    Parameters
    ----------
    model : SentenceTransformer
        Ends with the weights of the best step, by `score`, or else of the last.
    rows : TrainingSet
        What to learn.
    plan : Plan
        How.
    prompts : mapping
        ``"query"`` and ``"document"`` -> text put before.
    score : callable or None
        Evaluates the model as it is; higher is better.
    folder : pathlib.Path
        Where checkpoints go.
    bar : callable
        Is told steps done, and steps in all.
    """
    from sentence_transformers import SentenceTransformerTrainingArguments

    device = model.device
    datasets = columns_of(rows, plan.loss)
    roles = roles_of(datasets, rows.kind)
    steps = sum(math.ceil(len(part) / plan.batch_size) for part in datasets.values())
    every = "epoch" if plan.checkpoint_steps is None else "steps"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=plan.epochs,
        per_device_train_batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup,
        weight_decay=plan.weight_decay,
        seed=plan.seed,
        batch_sampler="no_duplicates" if rows.kind == "ranking" else "batch_sampler",
        prompts={c: prompts[role] for c, role in roles.items() if prompts[role]} or None,
        router_mapping=roles,
        eval_strategy="no" if score is None else every,
        save_strategy=every,
        eval_steps=plan.checkpoint_steps,
        save_steps=plan.checkpoint_steps or 500,
        save_total_limit=_KEPT,
        load_best_model_at_end=score is not None,
        metric_for_best_model=None if score is None else "score",
        greater_is_better=None if score is None else True,
        restore_callback_states_from_checkpoint=plan.early_stopping is not None,
        logging_steps=max(1, round(steps * plan.epochs / _LOGGED)),
        use_cpu=device.type == "cpu",
        bf16=device.type == "cuda" and _has_bfloat16(),
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )
    last = last_checkpoint(folder)
    with _random_state_kept(), quiet():
        trainer = _trainer_class()(
            model,
            arguments,
            train_dataset=next(iter(datasets.values())) if len(datasets) == 1 else datasets,
            loss=_loss(model, plan),
            evaluator=None if score is None else _evaluator(score),
            callbacks=_callbacks(plan, bar),
        )
        _silence(trainer)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    state = trainer.state
    best = state.best_global_step if score is not None else None
    return Trained(
        losses=tuple((int(e["step"]), float(e["loss"])) for e in state.log_history if "loss" in e),
        scores=tuple(
            (int(e["step"]), float(e["eval_score"])) for e in state.log_history if "eval_score" in e
        ),
        steps=int(state.global_step),
        best_step=int(best or state.global_step),
        resumed_at=0 if last is None else _step(last),
    )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that is there as a whole."""
    found = [one.parent for one in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _loss(model: SentenceTransformer, plan: Plan) -> torch.nn.Module:
    from sentence_transformers.sentence_transformer import losses

    made: torch.nn.Module = {
        "multiple-negatives-ranking": losses.MultipleNegativesRankingLoss,
        "cached-multiple-negatives-ranking": losses.CachedMultipleNegativesRankingLoss,
        "cosent": losses.CoSENTLoss,
        "cosine-similarity": losses.CosineSimilarityLoss,
    }[plan.loss](model)
    if plan.matryoshka_dims:
        whole = model.get_embedding_dimension() or max(plan.matryoshka_dims)
        return losses.MatryoshkaLoss(model, made, sorted({whole, *plan.matryoshka_dims}))
    return made


def _evaluator(score: Callable[[], float]) -> Any:
    from sentence_transformers.base.evaluation import BaseEvaluator

    class Score(BaseEvaluator):
        def __call__(self, *_: Any, **__: Any) -> dict[str, float]:
            return {"score": score()}

    made: Any = Score
    return made()


def _trainer_class() -> Any:
    from sentence_transformers import SentenceTransformerTrainer

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Make no card while training: theirs may ask the hub about model and data."""

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            del state_dict
            self.model.save_pretrained(str(output_dir), create_model_card=False)

        def _load_best_model(self) -> None:
            # Theirs only logs what goes wrong here, and goes on with the last weights.
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    return Trainer


def _callbacks(plan: Plan, bar: Callable[[int, int], None]) -> list[Any]:
    from transformers import EarlyStoppingCallback, TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            bar(state.global_step, state.max_steps)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del control
            Path(args.output_dir, f"checkpoint-{state.global_step}", COMPLETE).touch()

    stopping = [] if plan.early_stopping is None else [EarlyStoppingCallback(plan.early_stopping)]
    return [Watch(), *stopping]


def _silence(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _has_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers say nothing but errors, and show no bars beside ours."""
    from transformers.utils import logging

    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Seed nothing beyond the training: the trainer seeds the whole process."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
