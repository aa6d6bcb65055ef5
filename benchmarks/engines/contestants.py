"""Who takes part: as data, so that one more is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BUILT_IN = "built-in"
#: What the others' vectors are compared with.
REFERENCE = "st-torch"

_PEERS = "benchmarks.engines.peers"
_ENCODE = f"{_PEERS}.encode"
_ONNXRUNTIME = f"{_PEERS}.onnxruntime_direct"

#: Packages of each environment, beside what the benchmark's own has. One that begins with torch
#: lies on top of nothing; what begins with a minus is removed again.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "": (),
    "onnxruntime": ("onnxruntime", "onnx"),
    "fastembed": ("fastembed",),
    "model2vec": ("model2vec[distill]",),
    # These want older releases of much else, which do not go with the rest of the benchmark's.
    "sentence-transformers-onnx": (
        "torch",
        "optimum-onnx[onnxruntime]",
        "sentence-transformers",
        "lancedb",
    ),
    "sentence-transformers-openvino": (
        "torch",
        "optimum-intel[openvino]",
        "sentence-transformers",
        "lancedb",
        # It insists on this, whose build for GPUs does not go with a torch for CPUs.
        "-torchvision",
    ),
    # Its numpy is an old one, so pyarrow must be too.
    "infinity": ("torch", "infinity-emb[torch]", "lancedb", "pyarrow<20"),
}
#: Weights in another form, and the environment that makes them.
MADE_BY: Mapping[str, str] = {"onnx": "onnxruntime", "static": "model2vec"}


@dataclass(frozen=True)
class Contestant:
    """One way to embed with the same weights.

    Attributes
    ----------
    name : str
        What ``--only`` takes.
    label : str
        What the table shows.
    function : str
        Its name in LanceDB's registry; empty for one that embeds by hand.
    environment : str
        A key of `PACKAGES`; empty: the environment that runs the benchmark.
    module : str
        Where ``load(model, **options)`` is, which returns what embeds a list of texts.
    options : mapping
        For ``load``.
    settings : mapping
        Environment variables, each after ``LANCEDB_EMBEDDERS_``.
    weights : str
        A key of `MADE_BY`; empty: the model's own.
    arithmetic : str
        The limit of the machine that it is measured by; empty: it computes no products.
    emulated : bool
        Whether it computes in bfloat16 also where the processor cannot, many times slower; there
        it takes part only when asked for by name.
    """

    name: str
    label: str
    function: str = ""
    environment: str = ""
    module: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    arithmetic: str = "float32"
    emulated: bool = False


def _ours(engine: str, precision: str, arithmetic: str) -> Contestant:
    ending = "" if precision == "auto" else f"-{precision}"
    return Contestant(
        f"{engine}{ending}",
        f"sbert, {engine}, {precision}",
        function="sbert",
        settings={"ENGINE": engine, "PRECISION": precision},
        arithmetic=arithmetic,
        emulated=precision == "bfloat16",
    )


CONTESTANTS: Mapping[str, Contestant] = {
    found.name: found
    for found in (
        _ours("openvino", "float32", "float32"),
        _ours("openvino", "auto", "bfloat16"),
        _ours("openvino", "int8", "int8"),
        _ours("torch", "float32", "float32"),
        _ours("torch", "bfloat16", "bfloat16"),
        Contestant(BUILT_IN, "LanceDB's built-in", function="sentence-transformers"),
        Contestant(REFERENCE, "sentence-transformers", module=_ENCODE),
        Contestant(
            "st-torch-bfloat16",
            "sentence-transformers, bfloat16",
            module=_ENCODE,
            options={"dtype": "bfloat16"},
            arithmetic="bfloat16",
            emulated=True,
        ),
        Contestant(
            "st-onnx",
            "sentence-transformers, ONNX",
            environment="sentence-transformers-onnx",
            module=_ENCODE,
            options={"backend": "onnx"},
            weights="onnx",
        ),
        Contestant(
            "st-openvino",
            "sentence-transformers, OpenVINO",
            environment="sentence-transformers-openvino",
            module=_ENCODE,
            options={"backend": "openvino"},
            weights="onnx",
        ),
        Contestant(
            "fastembed",
            "fastembed",
            environment="fastembed",
            module=f"{_PEERS}.fastembed_custom",
            weights="onnx",
        ),
        Contestant(
            "onnxruntime",
            "ONNX Runtime",
            environment="onnxruntime",
            module=_ONNXRUNTIME,
            weights="onnx",
        ),
        Contestant(
            "onnxruntime-int8",
            "ONNX Runtime, dynamic int8",
            environment="onnxruntime",
            module=_ONNXRUNTIME,
            options={"file": "onnx/model_int8.onnx"},
            weights="onnx",
            arithmetic="int8",
        ),
        Contestant(
            "infinity",
            "infinity, torch",
            environment="infinity",
            module=f"{_PEERS}.infinity_engine",
        ),
        Contestant(
            "model2vec",
            "model2vec, static",
            environment="model2vec",
            module=f"{_PEERS}.model2vec_static",
            weights="static",
            arithmetic="",
        ),
    )
}
