"""A FAQ that answers in other words, says how sure it is, and says when it doesn't know.

An entry is found by its question, and a little by its answer. How sure "sure" is comes from
questions whose entries are known: each is asked as it is, and again with its entry left out, as one
that the FAQ can't answer. Correcting entries needs ``pip install "lancedb-embedders[tables]"``.
``python -m examples.semantic_faq`` takes the CDC's questions and answers on COVID-19.
"""

from examples.semantic_faq.calibration import Calibration, Outcome, calibration_error
from examples.semantic_faq.faq import Entry, Reply, SemanticFaq

__all__ = ["Calibration", "Entry", "Outcome", "Reply", "SemanticFaq", "calibration_error"]
