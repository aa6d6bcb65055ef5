"""`multilingual`: Unicode forms, languages, scripts, prompts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    LongDocumentEmbeddings,
    MultilingualEmbeddings,
    SbertEmbeddings,
    catalog,
    settings,
)
from lancedb_embedders.languages import UNLISTED, scripts, supported
from lancedb_embedders.local.store import store
from tests.models import change_json, tiny_bert, tiny_roberta

DEFAULT = "paraphrase-multilingual-MiniLM-L12-v2"
# One word, typed in two ways: with letters that bring their accents, and with accents beside.
COMPOSED, DECOMPOSED = "na\u00efve caf\u00e9", "nai\u0308ve cafe\u0301"
PLAIN, FANCY = "finance ABC 12", "\ufb01nance \uff21\uff22\uff23 \u2460\u2461"


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    store.clear()


@pytest.fixture
def bytes_model(tmp_path: Path) -> Path:
    # It sees bytes, so that no normalizer of its own hides the difference.
    return tiny_roberta(tmp_path / "m")


def test_the_default_model_is_found_by_its_name(tmp_path: Path) -> None:
    function = MultilingualEmbeddings.create()
    assert (function.name, function.ndims(), function.max_length) == (DEFAULT, 384, 128)
    tiny_bert(tmp_path / DEFAULT, dim=384)
    with settings.override(models=tmp_path):
        function = MultilingualEmbeddings.create()
        assert function.compute_source_embeddings(["a text"]).shape == (1, 384)


@pytest.mark.parametrize(
    ("form", "one", "other", "same"),
    [
        ("NFC", COMPOSED, DECOMPOSED, True),
        ("NFKC", COMPOSED, DECOMPOSED, True),
        (None, COMPOSED, DECOMPOSED, False),
        ("NFC", PLAIN, FANCY, False),
        ("NFKC", PLAIN, FANCY, True),
    ],
)
def test_unicode(bytes_model: Path, form: Any, one: str, other: str, same: bool) -> None:
    function = MultilingualEmbeddings.create(name=bytes_model, unicode=form)
    for embed in (function.compute_source_embeddings, function.compute_query_embeddings):
        first, second = embed(one)[0], embed(other)[0]
        assert np.allclose(first, second, atol=1e-6) is same
    across = function.compute_query_embeddings(other)[0]
    assert np.allclose(across, function.compute_source_embeddings(one)[0], atol=1e-6) is same


@pytest.mark.parametrize("form", ["NFC", "NFKC", None])
def test_the_table_remembers_the_form(db: Any, bytes_model: Path, form: Any) -> None:
    function = MultilingualEmbeddings.create(name=bytes_model, unicode=form)

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    db.create_table("t", schema=Row)
    rebuilt = db.open_table("t").embedding_functions["vector"].function
    assert rebuilt.unicode == form
    assert rebuilt == function


def test_equal_words_are_computed_once(bytes_model: Path) -> None:
    function = MultilingualEmbeddings.create(name=bytes_model)
    vectors = function.compute_source_embeddings([COMPOSED, DECOMPOSED, "other"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_unknown_form() -> None:
    with pytest.raises(ConfigurationError, match="unicode: Input should be 'NFC' or 'NFKC'"):
        MultilingualEmbeddings.create(unicode="NFD")


# -- prompts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "intfloat/multilingual-e5-small",
        pytest.param("Qwen/Qwen3-Embedding-0.6B", marks=pytest.mark.slow),
        DEFAULT,
    ],
)
def test_prompts_come_from_the_card(tmp_path: Path, name: str) -> None:
    card = catalog.find(name)
    assert card is not None
    tiny_bert(tmp_path / name, dim=card.dims, positions=512, max_seq_length=512)
    with settings.override(models=tmp_path):
        function = MultilingualEmbeddings.create(name=name)
        assert function.query_prompt == card.query_prompt
        assert function.document_prompt == card.document_prompt
        bare = MultilingualEmbeddings.create(name=name, query_prompt="", document_prompt="")
        text = "the quick brown fox"
        np.testing.assert_allclose(
            function.compute_query_embeddings(text),
            bare.compute_query_embeddings(card.query_prompt + text),
            atol=1e-5,
        )
        np.testing.assert_allclose(
            function.compute_source_embeddings(text),
            bare.compute_source_embeddings(card.document_prompt + text),
            atol=1e-5,
        )


# -- languages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["de", "de-AT", "DE", "deu", "pt-BR", "zh-TW", "cmn", "no", "iw"])
def test_supports(code: str) -> None:
    assert MultilingualEmbeddings.create().supports(code)


@pytest.mark.parametrize("code", ["sw", "tlh", "ta", "gsw"])
def test_does_not_support(code: str) -> None:
    assert not MultilingualEmbeddings.create().supports(code)


def test_scripts_tell_regions_apart() -> None:
    assert supported("zh-Hant", ["zh"])
    assert supported("zh-Hant", ["zh-TW"])
    assert not supported("zh-Hant", ["zh-CN"])
    assert supported("sr-Latn", ["sr"])


@pytest.mark.parametrize("code", ["", "german", "xx", "e", "de_at_oops_toolong1", "und"])
def test_a_code_that_is_none(code: str) -> None:
    with pytest.raises(ConfigurationError, match=r'give one like "de", "pt-BR" or "zh-Hant"'):
        MultilingualEmbeddings.create().supports(code)


def test_every_card_lists_languages_that_are_some() -> None:
    for card in catalog.cards().values():
        for code in set(card.languages) - UNLISTED:
            assert supported(code, card.languages), (card.name, code)
        assert scripts(set(card.languages) - UNLISTED) or UNLISTED & set(card.languages)


def test_languages_of_a_model_without_a_card(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "ours")
    function = MultilingualEmbeddings.create(name=folder)
    with pytest.raises(ConfigurationError, match="the languages of ours are not known"):
        function.supports("de")
    readme = folder / "README.md"
    for head, known in [
        ("language:\n- de\n- fr", ("de", "fr")),
        ("language: sw", ("sw",)),
        ("language: multilingual", ()),
        ("language: [", ()),
        ("- a list", ()),
        ("license: mit", ()),
    ]:
        readme.write_text(f"---\n{head}\n---\n# Ours\n")
        assert function.languages() == known
    readme.write_text("---\nlanguage:\n- de\n- fr\n---\n")
    assert function.supports("fr-CH")
    assert not function.supports("en")


def test_a_card_is_not_taken_for_another_model_of_that_name(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / DEFAULT, dim=32)
    change_json(folder / "config_sentence_transformers.json", prompts={})
    with settings.override(models=tmp_path):
        assert MultilingualEmbeddings.create().languages() == ()


# -- scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("我爱北京天安门", "CJK"),
        ("Сколько стоит билет?", "Cyrillic"),
        ("متى تغادر السفينة؟", "Arabic"),
        ("कितना खर्च होता है", "Devanagari"),
        ("ราคาเท่าไหร่", "Thai"),
        ("얼마예요? 표 주세요", "Hangul"),
    ],
)
@pytest.mark.parametrize(
    "cls",
    [
        MultilingualEmbeddings,
        pytest.param(SbertEmbeddings, marks=pytest.mark.slow),
        pytest.param(LongDocumentEmbeddings, marks=pytest.mark.slow),
    ],
)
def test_a_script_that_the_model_cannot_read_is_said_once(
    db: Any, cls: Any, text: str, script: str
) -> None:
    function = cls.create(name="all-MiniLM-L6-v2")

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    expected = rf"all-MiniLM-L6-v2 was not trained on {script}, in which 1 of 3 texts .*\(row 1\)"
    with pytest.warns(EmbeddingWarning, match=expected):
        table.add([{"text": "plain"}, {"text": text}, {"text": "café"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingWarning)
        db.open_table("t").add([{"text": text}])
        db.open_table("t").search(text).limit(1).to_list()


@pytest.mark.parametrize(
    "text",
    [
        "Übergröße, naïveté, İstanbul, Łódź, Việt Nam",
        "The letter Ж and the word 东京 in a text that is English otherwise",
        "E = mc², ∑ αᵢ ≥ ½ — “quoted” … 5 €",
        "🦊🦊🦊🦊🦊",
        "1234567890",
        "你好",
    ],
)
def test_what_is_no_foreign_script(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingWarning)
        SbertEmbeddings.create().compute_source_embeddings([text])


def test_a_model_of_many_scripts_reads_them_all(tmp_path: Path) -> None:
    tiny_bert(tmp_path / DEFAULT, dim=384, positions=512, max_seq_length=128)
    texts = [
        "Сколько стоит",
        "我爱北京天安门",
        "これはペンです",
        "متى تغادر",
        "얼마예요 표",
        "कितना खर्च",
    ]
    with settings.override(models=tmp_path), warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingWarning)
        MultilingualEmbeddings.create().compute_source_embeddings(texts)
    with settings.override(models=tmp_path), pytest.warns(EmbeddingWarning, match="on Tamil"):
        MultilingualEmbeddings.create().compute_source_embeddings(["தமிழ் மொழி"])


def test_nothing_is_said_where_nobody_lists_languages(bytes_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingWarning)
        MultilingualEmbeddings.create(name=bytes_model).compute_source_embeddings(
            ["我爱北京天安门"]
        )
