"""What the contract suite is run on: one entry a registered function, and its variants."""

from __future__ import annotations

import atexit
import base64
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from lancedb.embeddings import get_registry

from lancedb_embedders import Batch
from lancedb_embedders.stored import registered
from tests.image_models import tiny_clip
from tests.providers import ProviderServer

TEXTS = ("A cat sleeps on the sofa.", "Stock markets fell on Monday.", "The pasta needs salt.")
QUERY = "Where does the cat sleep?"

#: Holds small models by name, and a picture.
MODELS = Path(tempfile.mkdtemp(prefix="lancedb-embedders-models-"))
atexit.register(shutil.rmtree, MODELS, ignore_errors=True)
tiny_clip(MODELS / "tiny-clip")


def _picture(seed: int, **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).resize((90, 70)).save(buffer, **options)
    return buffer.getvalue()


PICTURES = tuple(
    f"data:image/png;base64,{base64.b64encode(_picture(seed, format='PNG')).decode()}"
    for seed in range(3)
)
#: The first of them as another file.
PICTURE_QUERY = MODELS / "query.jpg"
PICTURE_QUERY.write_bytes(_picture(0, format="JPEG", quality=90))


@dataclass(frozen=True)
class Case:
    """A function under contract.

    Attributes
    ----------
    function : str
        Registry name.
    options : mapping
        Arguments of `create`.
    process : mapping
        Arguments of this process that `create` takes as well and must never store.
    changed : mapping
        One option changed so that the vectors differ.
    local : bool
        Whether a model on this machine makes the vectors.
    told : bool
        Whether a provider is told of queries that they are queries.
    texts : sequence of str
        Three rows of a source column.
    query : str or pathlib.Path
        What the first of them is nearest to.
    slow : bool
        Whether it differs from others by so little that it can wait for the long run.
    """

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    process: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    local: bool = True
    told: bool = False
    texts: Sequence[str] = TEXTS
    query: str | Path = QUERY
    slow: bool = False

    @property
    def pictures(self) -> bool:
        """Whether its rows are references to pictures."""
        return self.texts is PICTURES

    def __str__(self) -> str:
        shown = ",".join(f"{k}={v}" for k, v in self.options.items() if k != "base_url")
        return f"{self.function}[{shown}]" if shown else self.function

    def create(self, **more: Any) -> Any:
        return get_registry().get(self.function).create(**{**self.options, **more})

    @property
    def cls(self) -> Any:
        return registered()[self.function]


_LOCAL_PROCESS = {
    "device": "cpu",
    "engine": "torch",
    "precision": "float32",
    "batch_tokens": 1024,
    "progress": False,
}

_HOSTED_PROCESS = {
    "batch_size": 30,
    "concurrency": 3,
    "request_timeout": 30.0,
    "retry_deadline": 60.0,
    "requests_per_minute": 60_000,
    "tokens_per_minute": 60_000_000,
    "max_cost": 5.0,
    "on_error": "raise",
    "progress": False,
}

#: Speaks as the providers do, and gives the vectors of all-MiniLM-L6-v2.
SERVER = ProviderServer("minilm")
SERVER.start()


def hosted(
    function: str, path: str, changed: Mapping[str, Any], told: bool, **options: Any
) -> Case:
    options = {"base_url": SERVER.url + path, **options}
    return Case(function, options, _HOSTED_PROCESS, changed, local=False, told=told)


_DOCUMENT_PROCESS = {**_LOCAL_PROCESS, "max_windows": 100}

CASES = [
    Case("sbert", process=_LOCAL_PROCESS, changed={"truncate_dim": 128}),
    Case(
        "sbert",
        options={"truncate_dim": 64, "query_prompt": "query: ", "document_prompt": "passage: "},
        process=_LOCAL_PROCESS,
        changed={"document_prompt": "text: "},
        slow=True,
    ),
    Case(
        "sbert",
        options={"quantization": "float16"},
        process=_LOCAL_PROCESS,
        changed={"pooling": "cls"},
        slow=True,
    ),
    Case(
        "sbert",
        options={"quantization": "binary"},
        process=_LOCAL_PROCESS,
        changed={"max_length": 8},
    ),
    Case("long-document", process=_DOCUMENT_PROCESS, changed={"max_tokens": 8}),
    Case(
        "long-document",
        options={
            "max_tokens": 12,
            "overlap": 3,
            "split": "sentences",
            "reduce": "weighted",
            "document_prompt": "passage: ",
        },
        process=_DOCUMENT_PROCESS,
        changed={"reduce": "max"},
        slow=True,
    ),
    Case(
        "long-document",
        options={"max_tokens": 8, "max_length": 20, "late": True, "quantization": "binary"},
        process=_DOCUMENT_PROCESS,
        changed={"max_tokens": 5},
        slow=True,
    ),
    Case(
        "long-document",
        options={"max_tokens": 8, "reduce": "none", "quantization": "float16", "truncate_dim": 64},
        process=_DOCUMENT_PROCESS,
        changed={"overlap": 4},
    ),
    # Its default model is not at hand in tests; these weights are, and go the same way.
    Case(
        "multilingual",
        options={"name": "all-MiniLM-L6-v2", "unicode": "NFKC"},
        process=_LOCAL_PROCESS,
        changed={"document_prompt": "text: "},
    ),
    Case(
        "multilingual",
        options={"name": "all-MiniLM-L6-v2", "unicode": None, "quantization": "binary"},
        process=_LOCAL_PROCESS,
        changed={"truncate_dim": 128},
        slow=True,
    ),
    # A model that nobody trained finds the same words only.
    Case(
        "clip",
        options={"name": "tiny-clip", "source": "text"},
        process=_LOCAL_PROCESS,
        changed={"document_prompt": "text: "},
        query=TEXTS[0],
    ),
    Case(
        "clip",
        options={"name": "tiny-clip", "quantization": "float16"},
        process=_LOCAL_PROCESS,
        changed={"truncate_dim": 8},
        texts=PICTURES,
        query=PICTURE_QUERY,
    ),
    hosted("cached-openai", "/v1", {"dim": 512}, told=False),
    hosted(
        "cached-openai",
        "/v1",
        {"document_prompt": "text: "},
        told=False,
        name="a-model-of-my-own",
        max_length=512,
        query_prompt="query: ",
        on_overflow="chunk",
        quantization="binary",
    ),
    hosted("cached-cohere", "", {"document_input_type": "search_query"}, told=True),
    hosted("cached-voyage", "/v1", {"truncate_dim": 256}, told=True, quantization="float16"),
    hosted("cached-google", "", {"document_task": "RETRIEVAL_QUERY"}, told=True, dim=768),
    hosted("cached-google", "", {"document_prompt": ""}, told=False, name="gemini-embedding-2"),
    hosted("cached-huggingface", "", {"truncate_dim": 128}, told=False, on_overflow="truncate"),
]


class Counting:
    """What reached a function's `embed`, for tests that count."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    @property
    def inputs(self) -> list[str]:
        """Texts, and references to pictures."""
        return [getattr(value, "source", value) for batch in self.batches for value in batch.inputs]


def counting(case: Case) -> tuple[Any, Counting]:
    """Register a real subclass of a case's function that keeps what it was asked to embed."""
    seen = Counting()
    base: Any = case.cls

    class CountingEmbeddings(base, registry_name=f"counting-{case.function}"):  # type: ignore[call-arg]
        def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
            seen.batches.append(batch)
            vectors: npt.NDArray[np.float32] = super().embed(batch)
            return vectors

    return CountingEmbeddings, seen
