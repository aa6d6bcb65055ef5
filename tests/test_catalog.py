from __future__ import annotations

import pytest
from lancedb.embeddings import get_registry

from lancedb_embedders import ConfigurationError, catalog

#: Every model that README's table shows.
EXPECTED = [
    "all-MiniLM-L6-v2",
    "all-MiniLM-L12-v2",
    "all-mpnet-base-v2",
    "multi-qa-MiniLM-L6-cos-v1",
    "multi-qa-mpnet-base-cos-v1",
    "multi-qa-mpnet-base-dot-v1",
    "msmarco-distilbert-base-v4",
    "msmarco-MiniLM-L6-cos-v5",
    "paraphrase-multilingual-MiniLM-L12-v2",
    "paraphrase-multilingual-mpnet-base-v2",
    "clip-ViT-B-32",
    "ibm-granite/granite-embedding-small-english-r2",
    "ibm-granite/granite-embedding-english-r2",
    "intfloat/multilingual-e5-small",
    "intfloat/multilingual-e5-base",
    "BAAI/bge-small-en-v1.5",
    "BAAI/bge-base-en-v1.5",
    "BAAI/bge-m3",
    "google/embeddinggemma-300m",
    "Qwen/Qwen3-Embedding-0.6B",
    "MongoDB/mdbr-leaf-ir",
    "nomic-ai/nomic-embed-text-v1.5",
    "google/siglip2-base-patch16-224",
    "jinaai/jina-clip-v2",
    "minishlab/potion-base-8M",
    "text-embedding-3-small",
    "embed-v4.0",
    "gemini-embedding-001",
]


@pytest.mark.parametrize("name", EXPECTED)
def test_known(name: str) -> None:
    card = catalog.find(name)
    assert card is not None
    assert card.source.startswith("https://")


@pytest.mark.parametrize("card", catalog.cards().values(), ids=lambda card: card.name)
def test_every_card_makes_sense(card: catalog.ModelCard) -> None:
    assert all(dim < card.dims for dim in card.truncate_dims)
    assert len(set(card.languages)) == len(card.languages) > 0
    has_prompts = bool(card.query_prompt or card.document_prompt)
    assert has_prompts is (card.prompts in {"required", "optional"}) or card.provider != "local"
    assert (card.price is not None) is (card.provider != "local")
    for fact in (card, card.price, *card.scores):
        assert fact is None or (fact.source.startswith("https://") and fact.date.year >= 2024)
    assert all(0 < score.value <= 100 for score in card.scores)


def test_names_are_found_in_any_case_and_by_their_bare_form() -> None:
    card = catalog.find("All-minilm-l6-V2")
    assert card is catalog.find("sentence-transformers/all-MiniLM-L6-v2")
    assert catalog.find("bge-small-en-v1.5") is None
    assert catalog.similar("bge-small-en") == ["BAAI/bge-small-en-v1.5"]


def test_the_catalogue_decides_what_the_model_does_not_say() -> None:
    e5 = get_registry().get("sbert").create(name="intfloat/multilingual-e5-small")
    assert (e5.query_prompt, e5.document_prompt) == ("query: ", "passage: ")
    assert (e5.ndims(), e5.max_length, e5.pooling) == (384, 512, "mean")
    plain = (
        get_registry().get("sbert").create(name="intfloat/multilingual-e5-small", query_prompt="")
    )
    assert plain.query_prompt == ""


def test_a_model_that_forbids_prompts_is_given_none() -> None:
    create = get_registry().get("sbert").create
    with pytest.raises(ConfigurationError, match=r"must not be given a prompt.*'query: '"):
        create(name="minishlab/potion-base-8M", query_prompt="query: ")
    assert create(name="minishlab/potion-base-8M", query_prompt="").query_prompt == ""


def test_a_hosted_model_is_not_looked_for_on_this_machine() -> None:
    with pytest.raises(ConfigurationError, match="text-embedding-3-small is hosted by openai"):
        get_registry().get("sbert").create(name="text-embedding-3-small")
