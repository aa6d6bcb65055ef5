"""From where on something is a finding."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lancedb_embedders.errors import ConfigurationError


@dataclass(frozen=True)
class Limits:
    """From where on something is a finding.

    The defaults were set on sets of real text of many kinds (a topic a batch, or many; sentences,
    abstracts, documents; several languages) of which none is found anything in, and on the faults
    that they must tell from these.

    Parameters
    ----------
    nulls : float, default 0.01
        Share of rows without a vector.
    duplicates : float, default 0.15
        Share of rows whose text, without case and white space, has come before.
    near_identical : float, default 0.005
        Share of rows whose vector a row with another text has, too; less, or a single pair, is of
        severity info.
    same_cosine : float, default 0.9995
        Cosine similarity from which on two vectors count as the same.
    truncated : float, optional
        Share of texts that are longer than the model takes; None: never a finding.
    norm : float, default 0.01
        How far from 1 the length of a vector may be that should be 1.
    scale : float, default 10.0
        How many times shorter or longer than the shortest or longest vector of ordinary text
        others may be, of a function that does not normalize.
    rank : float, default 0.5
        Power of the effective rank of ordinary text, below which vectors have collapsed: its square
        root. That of one narrow topic is its power of 0.6 or more. Of bits, halfway to 1.
    distance : float, default 0.05
        Share of the mean cosine distance of ordinary text, below which they have, too. One narrow
        topic has a third.
    flat : float, default 0.01
        Share of a dimension's variance for ordinary text; less, and it is flat.
    flat_dims : float, default 0.02
        Share of dimensions that may be flat.

    Raises
    ------
    ConfigurationError
        A negative one.
    """

    nulls: float = 0.01
    duplicates: float = 0.15
    near_identical: float = 0.005
    same_cosine: float = 0.9995
    truncated: float | None = None
    norm: float = 0.01
    scale: float = 10.0
    rank: float = 0.5
    distance: float = 0.05
    flat: float = 0.01
    flat_dims: float = 0.02

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"limit {one.name}={value} is negative")
