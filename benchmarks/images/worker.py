"""The process of all jobs: ``python -m benchmarks.images.worker JOB``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.hosted.job import measured
from benchmarks.images.contestants import create, peers, save_model
from benchmarks.images.job import OURS, Job, main
from benchmarks.images.photos import read_photos, write_photos
from benchmarks.images.stages import DECODE, EMBED, MODEL, Stages


def measure(job: Job) -> dict[str, Any]:
    """Do the job."""
    jobs = {"peers": _peers, "model": _model, "photos": _photos, "add": _add, "compare": _compare}
    return jobs[job.what](job)


def _peers(job: Job) -> dict[str, Any]:  # noqa: ARG001
    return peers()


def _model(job: Job) -> dict[str, Any]:
    save_model(Path(job.model))
    return {}


def _photos(job: Job) -> dict[str, Any]:
    return write_photos(job.kind, job.count, Path(job.photos))


def _add(job: Job) -> dict[str, Any]:
    import lancedb
    from lancedb.pydantic import LanceModel, Vector
    from pydantic import create_model

    photos = read_photos(job.photos)
    function = create(job.who, job.model)
    document = create_model(
        "Document",
        __base__=LanceModel,
        image=(bytes, function.SourceField()),
        vector=(Vector(function.ndims()), function.VectorField()),
    )
    table = lancedb.connect(Path(job.folder) / "db").create_table("pictures", schema=document)
    table.add(photos[:2])  # loads what is loaded once
    stages = Stages()
    stages.watch(type(function), "compute_source_embeddings", EMBED)
    if job.who == OURS:
        _watch_ours(stages)
    else:
        _watch_peer(stages, type(function))
    found = measured(lambda: table.add(photos))
    if table.count_rows("vector is not null") != 2 + len(photos):
        raise RuntimeError("pictures without vectors")
    embedding_cpu = stages.process_cpu(EMBED)
    return {
        **found,
        "decode": stages.wall(DECODE),
        "decode_cpu": stages.thread_cpu(DECODE),
        "model": stages.wall(MODEL),
        "model_cpu": embedding_cpu - stages.thread_cpu(DECODE),
        "write": found["seconds"] - stages.wall(EMBED),
        "write_cpu": found["cpu"] - embedding_cpu,
    }


def _watch_ours(stages: Stages) -> None:
    from lancedb_embedders.local import pictures
    from lancedb_embedders.local.torch_images import TorchImages

    stages.watch(pictures, "_ready", DECODE)
    stages.watch(TorchImages, "forward", MODEL)


def _watch_peer(stages: Stages, kind: Any) -> None:
    stages.watch(kind, "_to_pil", DECODE)
    stages.watch(kind, "_encode_and_normalize_image", MODEL)
    make = kind.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self._preprocess = stages.timed(self._preprocess, DECODE)

    kind.__init__ = init


def _compare(job: Job) -> dict[str, Any]:
    """Return cosines to the vectors of transformers, and of pictures with one another."""
    import io

    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    files = read_photos(job.photos)["image"]
    ours = np.asarray(create(OURS, job.model).compute_source_embeddings(files), np.float64)
    processor: Any = AutoImageProcessor.from_pretrained(job.model)
    model: Any = AutoModel.from_pretrained(job.model).eval()
    rows = []
    for data in files.to_pylist():
        pixels = processor(images=Image.open(io.BytesIO(data)), return_tensors="pt")
        with torch.inference_mode():
            rows.append(model.get_image_features(**pixels).pooler_output[0].double().numpy())
    theirs = np.stack(rows)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    cosines = (ours * theirs).sum(axis=1)
    others = (theirs @ theirs.T)[~np.eye(len(theirs), dtype=bool)]
    return {
        "min": float(cosines.min()),
        "mean": float(cosines.mean()),
        "others": float(others.mean()) if len(others) else 0.0,
    }


if __name__ == "__main__":
    main(measure)
