"""The machine's limit: how fast it multiplies matrices, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.engines.busy import cores
from benchmarks.engines.flops import Shape
from benchmarks.engines.processor import has_bfloat16
from benchmarks.engines.setting import Setting
from benchmarks.job import Job, Result

_TOKENS = 1024
_LARGE = 2048
_SECONDS = 0.4

# Rows of the left matrix, what is summed over, columns of the right one.
Product = tuple[int, int, int]


def measure(job: Job) -> Result:
    """Return the highest GFLOP/s of any library by arithmetic, at the model's shapes and large.

    Keys are ``float32``, its shapes apart as ``float32 1024x384x1536``, and the same for
    ``bfloat16`` where the processor has instructions for it.
    """
    shape = Shape.of(Path(Setting.of(job).weights))
    result: Result = {}
    for arithmetic in ("float32", "bfloat16") if has_bfloat16() else ("float32",):
        for product in _products(shape):
            best = max(run(product, arithmetic) for run in _libraries())
            result["{} {}x{}x{}".format(arithmetic, *product)] = best
            result[arithmetic] = max(best, result.get(arithmetic, 0))
    return result


def _products(shape: Shape) -> Iterator[Product]:
    yield _TOKENS, shape.hidden, shape.hidden
    yield _TOKENS, shape.hidden, shape.intermediate
    yield _TOKENS, shape.intermediate, shape.hidden
    yield _LARGE, _LARGE, _LARGE


def _libraries() -> list[Callable[[Product, str], float]]:
    try:
        import openvino  # noqa: F401
    except ImportError:
        return [_torch]
    return [_torch, _openvino]


def _torch(product: Product, arithmetic: str) -> float:
    import torch

    rows, inner, columns = product
    kind = getattr(torch, arithmetic)
    left, right = torch.randn(rows, inner).to(kind), torch.randn(columns, inner).to(kind)
    with torch.inference_mode():
        return _gigaflops(product, lambda: torch.nn.functional.linear(left, right), lambda: None)


def _openvino(product: Product, arithmetic: str) -> float:
    import numpy as np
    import openvino
    from openvino import opset13

    rows, inner, columns = product
    random = np.random.default_rng(0)
    right = random.standard_normal((columns, inner), dtype=np.float32)
    left = random.standard_normal((rows, inner), dtype=np.float32)
    given = opset13.parameter([rows, inner], np.float32)
    multiplied = opset13.matmul(given, opset13.constant(right), False, True)
    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[arithmetic],
        "NUM_STREAMS": cores(),
        "INFERENCE_NUM_THREADS": cores(),
    }
    # A stream a core: what they need not share, they need not wait for.
    model = openvino.Core().compile_model(openvino.Model([multiplied], [given]), "CPU", options)
    queue: Any = openvino.AsyncInferQueue(model)
    return _gigaflops(
        product, lambda: queue.start_async({0: left}, share_inputs=True), queue.wait_all
    )


def _gigaflops(
    product: Product, multiply: Callable[[], object], wait: Callable[[], object]
) -> float:
    for _ in range(3):
        multiply()
    wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        multiply()
        count += 1
    wait()
    rows, inner, columns = product
    return 2 * rows * inner * columns * count / (time.perf_counter() - start) / 1e9
