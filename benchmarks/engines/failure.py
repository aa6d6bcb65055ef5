"""What a program that failed says, in a line."""

from __future__ import annotations


def last_line(text: str) -> str:
    r"""Return what a failed program ends with, by preference an error of pip's.

    Examples
    --------
    >>> last_line("ERROR: No matching distribution found for x\nA new release is available.")
    'ERROR: No matching distribution found for x'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it says nothing"])[-1]
