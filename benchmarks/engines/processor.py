"""What the processor has instructions for, as far as the system tells."""

from __future__ import annotations

from pathlib import Path


def has_bfloat16() -> bool:
    """Tell whether products of bfloat16 need not be emulated."""
    return _has("avx512_bf16", "amx_bf16", "bf16")


def has_exact_bytes() -> bool:
    """Tell whether products of bytes are added up in 32 bits; in 16 bits they overflow."""
    return _has("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


def _has(*flags: str) -> bool:
    info = Path("/proc/cpuinfo")
    found = info.read_text(encoding="utf-8").split() if info.is_file() else []
    return any(flag in found for flag in flags)
