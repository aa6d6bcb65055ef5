"""Train a small model of 13 languages in a minute, then find English by the other twelve.

Needs ``pip install "sentence-transformers[train]"`` and parallel sentences: those of Tatoeba (CC BY
2.0 FR), XQuAD and FLORES-200 (CC BY-SA 4.0) in the folder ``LANCEDB_EMBEDDERS_DATA``.
"""

import gzip
import json
import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import langcodes
import torch
from datasets import Dataset
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from lancedb_embedders import settings

LANGUAGES = ("ar", "de", "es", "fi", "fr", "hi", "id", "ja", "ru", "sv", "tr", "zh")
FILES = (
    "multi_tatoeba/tatoeba-a.jsonl.gz",
    "multi_xquad/a.questions.jsonl.gz",
    "multi_flores_sib200/a-train.jsonl.gz",
)
MODEL = "tiny-polyglot"
# Of each language; a search is quick, a thousand are not.
MOST_QUERIES = 100

#: English sentence -> language and text of each translation.
Translations = dict[str, list[tuple[str, str]]]


def read(data: Path) -> Translations:
    """Return what each English sentence is in other languages."""
    translations: Translations = defaultdict(list)
    for row in (row for name in FILES for row in rows(data / name)):
        texts = row.get("text") or {"en": row["eng"], row["lang"]: row["src"]}
        # The three sets write Chinese as "cmn", "zh" and "zho_Hans".
        coded = {langcodes.get(code).prefer_macrolanguage().language: texts[code] for code in texts}
        translations[coded["en"]] += [(code, coded[code]) for code in LANGUAGES if code in coded]
    return translations


def rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def hold_out(translations: Translations) -> tuple[list[tuple[str, str]], Translations]:
    """Return pairs to learn from, and a tenth of the English sentences, of which no pair is."""
    sentences = sorted(translations)
    random.Random(0).shuffle(sentences)
    count = len(sentences) // 10
    held_out = {english: translations[english] for english in sentences[:count]}
    # What translates two English sentences must not be learned with one and asked for the other.
    asked = {text for found in held_out.values() for _, text in found}
    learned = [
        (english, text) for english in sentences[count:] for _, text in translations[english]
    ]
    return [pair for pair in learned if pair[1] not in asked], held_out


def train(pairs: list[tuple[str, str]], folder: Path) -> None:
    """Learn a vector for each piece of a word, and save the model."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Short pieces: long ones are too rare to learn, most of all where words have many forms, or
    # no spaces between them.
    pieces = trainers.BpeTrainer(
        vocab_size=16_000,
        max_token_length=6,
        min_frequency=2,
        special_tokens=["[UNK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), pieces)
    card = SentenceTransformerModelCardData(
        language=["en", *LANGUAGES], generate_widget_examples=False
    )
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=256)], device="cpu", model_card_data=card
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=4,
        per_device_train_batch_size=512,
        learning_rate=0.5,  # the vectors begin at random, far from where they belong
        warmup_steps=0.1,
        # All else in a batch counts as wrong, so no sentence may be in it twice.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=0,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    english, other = zip(*pairs, strict=True)
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"english": english, "other": other}),
        loss=MultipleNegativesRankingLoss(model, scale=10),
    ).train()
    model.save_pretrained(str(folder))


def search(held_out: Translations, folder: Path) -> dict[str, float]:
    """Put English into a table, ask in other languages; return the share of right first hits."""
    multilingual = get_registry().get("multilingual").create(name=MODEL)
    print("languages by its card:", ", ".join(multilingual.languages()))
    print(
        "Austrian German:", multilingual.supports("de-AT"), "- Korean:", multilingual.supports("ko")
    )

    class Sentence(LanceModel):
        text: str = multilingual.SourceField()
        vector: multilingual.Vector() = multilingual.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder / "db").create_table("sentences", schema=Sentence)
    table.add([{"text": english} for english in held_out])
    accuracy = {}
    for language in LANGUAGES:
        asked = [
            (text, en) for en, found in held_out.items() for code, text in found if code == language
        ]
        hits = [
            table.search(text).distance_type("cosine").limit(1).to_list()[0]["text"] == english
            for text, english in asked[:MOST_QUERIES]
        ]
        accuracy[language] = sum(hits) / len(hits)
    return accuracy


def run(folder: Path, data: Path) -> dict[str, float]:
    """Train, search, report; return the accuracy by language."""
    pairs, held_out = hold_out(read(data))
    train(pairs, folder / "models" / MODEL)
    with settings.override(models=folder / "models"):
        accuracy = search(held_out, folder)
    print(f"learned from {len(pairs):,} pairs; asked for sentences that are in none of them")
    for language, share in accuracy.items():
        print(f"{language}: {share:.0%} of first hits right")
    mean = sum(accuracy.values()) / len(accuracy)
    print(
        f"mean: {mean:.0%}; by chance: {1 / len(held_out):.1%} (1 of {len(held_out):,} sentences)"
    )
    return accuracy


def main() -> None:
    here = Path(__file__).parent.parent
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or here / ".." / "shared" / "data")
    if not all((data / name).is_file() for name in FILES):
        sys.exit(f"no parallel sentences in {data}; set LANCEDB_EMBEDDERS_DATA to their folder")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data)


if __name__ == "__main__":
    main()
