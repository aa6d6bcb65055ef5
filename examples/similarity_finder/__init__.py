"""Find what is like a text or a row, every near-duplicate of a table, and clusters of them.

Near-duplicates are searched through LanceDB's index: each row asks it for the few rows near its own
vector, many rows at once, so that no row is compared with every other. From which similarity on two
texts count as the same is fitted on labelled pairs. ``python -m examples.similarity_finder`` takes
sentences of MRPC.
"""

from examples.similarity_finder.finder import Cluster, Match, Pair, SimilarityFinder
from examples.similarity_finder.threshold import Threshold, compare, fit_threshold, judge

__all__ = [
    "Cluster",
    "Match",
    "Pair",
    "SimilarityFinder",
    "Threshold",
    "compare",
    "fit_threshold",
    "judge",
]
