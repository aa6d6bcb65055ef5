"""How fast the device multiplies matrices here and now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SIZE = 8192
_TIMES = 30
_ROUNDS = 3


def peak_flops() -> float:
    """Return the floating point operations a second of a large product of matrices in bf16."""
    import torch

    a, b = (torch.randn(_SIZE, _SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found = [_one_round(a, b) for _ in range(1 + _ROUNDS)]  # the first one warms up
    return max(found[1:])


def _one_round(a: torch.Tensor, b: torch.Tensor) -> float:
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_TIMES):
        torch.matmul(a, b)
    torch.cuda.synchronize()
    return _TIMES * 2 * _SIZE**3 / (time.perf_counter() - start)
