"""The same weights in the forms that peers want: made once, kept in the benchmarks' cache folder.

``python -m benchmarks.engines.weights KIND MODEL FOLDER`` makes one, in the environment that can.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engines.contestants import MADE_BY, PACKAGES
from benchmarks.engines.environments import cache_folder, environment
from benchmarks.engines.failure import last_line
from benchmarks.engines.processor import has_exact_bytes

_ROOT = Path(__file__).resolve().parent.parent.parent
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUT = "last_hidden_state"
_MAX_LENGTH = 256


class WeightsError(RuntimeError):
    """Weights could not be made; the message says why."""


def weights(kind: str, model: Path) -> Path:
    """Return the folder of weights of a kind, and make it if need be.

    Parameters
    ----------
    kind : str
        A key of `MADE_BY`; empty: `model` itself.
    model : pathlib.Path
        Folder of the model as sentence-transformers has it.

    Raises
    ------
    WeightsError
        They could not be made.
    """
    if not kind:
        return model
    folder = cache_folder() / "engines" / f"weights-{kind}"
    if folder.is_dir():
        return folder
    where = environment(MADE_BY[kind], PACKAGES[MADE_BY[kind]])
    if where.python is None:
        raise WeightsError(where.reason)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        made = Path(place) / "made"
        done = subprocess.run(
            [where.python, "-m", __name__, kind, str(model), str(made)],
            cwd=_ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise WeightsError(last_line(done.stderr))
        made.rename(folder)
    return folder


def _make_onnx(model: Path, folder: Path) -> None:
    """Make a folder that sentence-transformers, fastembed and ONNX Runtime can all read."""
    shutil.copytree(model, folder)
    # fastembed cuts texts by this, the others by what they are told.
    config = folder / "tokenizer_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["model_max_length"] = _MAX_LENGTH
    config.write_text(json.dumps(content), encoding="utf-8")
    exported = folder / "onnx" / "model.onnx"
    exported.parent.mkdir()
    _export(model, exported)
    importlib.import_module("onnxruntime.quantization").quantize_dynamic(
        exported,
        exported.with_name("model_int8.onnx"),
        per_channel=True,
        reduce_range=not has_exact_bytes(),
    )
    _convert(exported, folder / "openvino" / "openvino_model.xml")


def _export(model: Path, file: Path) -> None:
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    bert = transformers.AutoModel.from_pretrained(
        model, attn_implementation="eager", add_pooling_layer=False
    ).eval()

    class Plain(torch.nn.Module):  # type: ignore[misc]
        """By position, since tracing knows no names."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            """Return the state of each token."""
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]

    ids = torch.randint(1000, 2000, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    torch.onnx.export(
        Plain(),
        (ids, mask, torch.zeros_like(ids)),
        str(file),
        input_names=list(_INPUTS),
        output_names=[_OUTPUT],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*_INPUTS, _OUTPUT)},
        opset_version=17,
        dynamo=False,
    )


def _convert(exported: Path, file: Path) -> None:
    """Write it for OpenVINO too, which sentence-transformers would do anew at each start."""
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError:
        return
    file.parent.mkdir()
    openvino.save_model(openvino.convert_model(str(exported)), str(file), compress_to_fp16=False)


def _make_static(model: Path, folder: Path) -> None:
    importlib.import_module("model2vec.distill").distill(str(model)).save_pretrained(str(folder))


if __name__ == "__main__":
    kind, model, folder = sys.argv[1:]
    {"onnx": _make_onnx, "static": _make_static}[kind](Path(model), Path(folder))
