"""A graph in eight bits: half the time where a CPU has instructions for it, at some accuracy."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np

from lancedb_embedders.extras import require
from lancedb_embedders.local.engine import COARSE
from lancedb_embedders.local.heads import Head, UnsupportedModelError
from lancedb_embedders.local.openvino_model import REFERENCE_TEXT, OpenVinoModel, Runner, cosines
from lancedb_embedders.local.openvino_runtime import without_reports
from lancedb_embedders.local.openvino_source import Source
from lancedb_embedders.local.tokens import padded

_PARAGRAPHS = 96
_LONGEST = 128  # tokens: the ranges of activations show in short texts as well
_SENTENCES = (
    "The train to the coast leaves at half past seven.",
    "Der Vertrag wird zum Jahresende gekündigt.",
    "Où se trouve la bibliothèque la plus proche ?",
    "La temperatura media fue de 21 grados.",
    "Questa ricetta richiede due uova e un po' di farina.",
    "O relatório descreve os resultados do estudo.",
    "De vergadering is verplaatst naar dinsdag.",
    "Новый мост открыли прошлой весной.",
    "Książka leży na stole obok okna.",
    "Bu roman geçen sene Ankara'da çok sevildi.",
    "यह पुस्तक बहुत रोचक है।",
    "السماء صافية هذا الصباح.",
    "这家餐厅的面条很好吃。",
    "来週の会議の資料を送ってください。",
    "오늘은 비가 올 것 같습니다.",
    "def mean(values): return sum(values) / len(values)",
)


def quantize(parts: OpenVinoModel, head: Head) -> OpenVinoModel:
    """Return a graph with weights and activations of matrix products in eight bits.

    Ranges of activations come from fixed texts: documentation that ships with Python, and
    sentences of several languages.

    Raises
    ------
    MissingExtraError
        NNCF is not installed.
    UnsupportedModelError
        The vectors are too far from those of the model.
    """
    require("int8", 'precision="int8"')
    with without_reports():
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)

    names = [next(iter(port.get_names())) for port in parts.source.model.inputs]
    limit = min(_LONGEST, parts.max_length or _LONGEST)
    items = parts.tokenizer.encode(list(_texts()), limit).items
    samples = [_sample(parts, names, ids) for ids in items]
    with redirect_stdout(sys.stderr):  # where its progress bars do not mix with a program's output
        made = nncf.quantize(
            parts.source.model,
            nncf.Dataset(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
        )
    quantized = replace(parts, source=Source.of(made))
    if parts.reference is not None:
        word = parts.tokenizer.encode([REFERENCE_TEXT], None).items
        found = Runner(quantized, "f32").run(word, lambda t, mask: head.vectors(t, mask, 0))
        likeness = float(cosines(found, parts.reference[None])[0])
        if not likeness >= COARSE:
            raise UnsupportedModelError(f"eight bits are too coarse for it (cosine {likeness:.4f})")
    return quantized


def _texts() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from _SENTENCES
    paragraphs = (part for topic in sorted(topics) for part in re.split(r"\n\s*\n", topics[topic]))
    prose = (" ".join(part.split()) for part in paragraphs)
    chosen = [text for text in prose if 80 < len(text) < 600]
    step = max(1, len(chosen) // _PARAGRAPHS)
    yield from chosen[::step][:_PARAGRAPHS]


def _sample(parts: OpenVinoModel, names: list[str], ids: Any) -> Mapping[str, Any]:
    row, mask = padded([ids], parts.pad, left=False)
    values = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    return {name: values[name] for name in names}
