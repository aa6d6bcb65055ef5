"""From a torch model to an OpenVINO graph, compared with torch before anyone uses it."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from lancedb_embedders.local.engine import EngineOptions, Role
from lancedb_embedders.local.heads import Head, UnsupportedModelError
from lancedb_embedders.local.openvino_files import reason
from lancedb_embedders.local.openvino_model import REFERENCE_TEXT, OpenVinoModel, Runner, cosines
from lancedb_embedders.local.openvino_runtime import import_openvino
from lancedb_embedders.local.openvino_source import Source
from lancedb_embedders.local.probe import PROBE_TEXT
from lancedb_embedders.output import Float32

_logger = logging.getLogger(__name__)

#: Cosine that float32 vectors of graph and model have at least.
_ALIKE = 0.9999
# Of several lengths, in one batch and alone, in both roles: a trace can be right for one only.
_TEXTS = (REFERENCE_TEXT, PROBE_TEXT, "word", "One sentence follows another. " * 40)


def convert(folder: Path, head: Head, trust_remote_code: bool) -> OpenVinoModel:
    """Convert the transformer of the model in `folder`.

    Raises
    ------
    UnsupportedModelError
        It cannot be converted, or the graph gives other vectors than the model.
    EmbeddingError
        What loading the model with torch raises.
    """
    from lancedb_embedders.local.torch_engine import TorchEngine
    from lancedb_embedders.local.torch_inputs import PaddedIds

    options = EngineOptions("torch", "cpu", "float32", trust_remote_code)
    torch_engine = TorchEngine(folder, None, options)
    source = torch_engine.input
    if not isinstance(source, PaddedIds):
        raise UnsupportedModelError("it does not take padded token ids")
    parts = OpenVinoModel(
        source=Source.of(_trace(torch_engine.model[0])),
        tokenizer=source.tokenizer,
        pad=source.pad,
        max_length=torch_engine.facts.max_length,
    )
    return _checked(parts, head, torch_engine)


def _trace(transformer: Any) -> Any:
    """Trace a transformer of sentence-transformers; attention stays one operation."""
    import torch

    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            return self.transformer(features)["token_embeddings"]

    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[0, 8:] = 0  # without padding, models leave the mask out of what is traced
    example = {"input_ids": torch.ones_like(mask), "attention_mask": mask}
    try:
        # Not openvino.convert_model, which reports each use to a server.
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(TokenVectors().eval(), example_input=example)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
    except MemoryError:
        raise
    except Exception as error:
        raise UnsupportedModelError(f"OpenVINO cannot convert it ({reason(error)})") from None
    for port, name in zip(model.inputs, example, strict=True):
        port.get_tensor().set_names({name})
    model.outputs[0].get_tensor().set_names({"last_hidden_state"})
    return model


def _checked(parts: OpenVinoModel, head: Head, torch_engine: Any) -> OpenVinoModel:
    runner = Runner(parts, "f32")
    limit = parts.max_length

    def pair(texts: tuple[str, ...], role: Role) -> tuple[Float32, Float32]:
        items = torch_engine.tokenize(texts, "", role, limit).items
        ours = runner.run(items, lambda tokens, mask: head.vectors(tokens, mask, 0))
        return ours, torch_engine.forward(items, "", role)

    roles: tuple[Role, ...] = ("document", "query")
    try:
        pairs = [pair(texts, role) for texts in (_TEXTS, _TEXTS[:1]) for role in roles]
        lowest = min(float(cosines(*both).min()) for both in pairs)
    except Exception as error:
        raise UnsupportedModelError(f"its graph does not run ({reason(error)})") from None
    if not lowest >= _ALIKE:  # a NaN is no likeness either
        raise UnsupportedModelError(
            f"OpenVINO's graph of it gives other vectors (cosine {lowest:.4f})"
        )
    return replace(parts, reference=pairs[-1][1][0])
