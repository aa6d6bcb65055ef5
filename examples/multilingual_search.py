"""Train a small model of 13 languages in a minute, then search English in the other twelve.

Training needs ``pip install "sentence-transformers[train]"``. The sentences and their translations
come from Tatoeba (CC BY 2.0 FR), XQuAD and FLORES-200 (both CC BY-SA 4.0).
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
TATOEBA = "multi_tatoeba/tatoeba-a"
XQUAD = "multi_xquad/a.questions"
FLORES = "multi_flores_sib200/a-train"
MODEL = "tiny-polyglot"
QUERIES = 100  # of each language

Pairs = list[tuple[str, str]]
Translations = dict[str, Pairs]  # of an English sentence: language and text of each


def read(data: Path) -> Translations:
    """Return English sentences with their translations."""

    def rows(name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)

    def two_letters(code: str) -> str:
        # Chinese alone is "cmn", "zh" or "zho_Hans", depending on the set.
        return langcodes.get(code).prefer_macrolanguage().to_tag().split("-")[0]

    aligned = [{"eng": row["eng"], row["lang"]: row["src"]} for row in rows(TATOEBA)]
    aligned += [row["text"] for name in (XQUAD, FLORES) for row in rows(name)]
    translations: Translations = defaultdict(list)
    for texts in aligned:
        coded = {two_letters(code): text for code, text in texts.items()}
        translations[coded["en"]] += [(code, coded[code]) for code in LANGUAGES if code in coded]
    return translations


def split(translations: Translations) -> tuple[Pairs, Translations]:
    """Return pairs to learn from, and a tenth of all English sentences, which no pair has."""
    sentences = sorted(translations)
    random.Random(0).shuffle(sentences)
    count = len(sentences) // 10
    held_out = {english: translations[english] for english in sentences[:count]}
    # Some texts translate two English sentences, of which only one is held out.
    asked = {text for found in held_out.values() for _, text in found}
    pairs = [
        (english, text)
        for english in sentences[count:]
        for _, text in translations[english]
        if text not in asked
    ]
    return pairs, held_out


def train(pairs: Pairs, folder: Path) -> None:
    """Learn a vector for each piece of a word, and save the model."""
    # Threads that wait for a core that others keep busy take longer than one thread does alone.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Long pieces are too rare to learn from so few sentences, above all in languages whose words
    # take many forms, or have no spaces between them.
    pieces = trainers.BpeTrainer(
        vocab_size=16_000, max_token_length=6, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), pieces)
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=256)],
        device="cpu",
        model_card_data=SentenceTransformerModelCardData(language=["en", *LANGUAGES]),
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=5,
        per_device_train_batch_size=512,
        learning_rate=0.5,  # a vector moves alone, from random numbers about as large as 1
        warmup_steps=0.1,
        # The loss takes all else in a batch for wrong answers, so nothing may be in it twice.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=0,
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    english, others = zip(*pairs, strict=True)
    dataset = Dataset.from_dict({"english": english, "other": others})
    loss = MultipleNegativesRankingLoss(model, scale=10)
    SentenceTransformerTrainer(model, arguments, train_dataset=dataset, loss=loss).train()
    model.save_pretrained(str(folder))


def search(folder: Path, held_out: Translations) -> dict[str, float]:
    """Return, by language, the share of queries that find the sentence they translate."""
    # By its name and not its path, so that the table can be opened where the folder is another.
    multilingual = get_registry().get("multilingual").create(name=MODEL)
    print("German:", multilingual.supports("de"), "Korean:", multilingual.supports("ko"))

    class Sentence(LanceModel):
        text: str = multilingual.SourceField()
        vector: multilingual.Vector() = multilingual.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder / "db").create_table("sentences", schema=Sentence)
    table.add([{"text": english} for english in held_out])

    right: dict[str, list[bool]] = {language: [] for language in LANGUAGES}
    for english, translations in held_out.items():
        for language, text in translations:
            if len(right[language]) < QUERIES:
                best = table.search(text).limit(1).to_list()[0]
                right[language].append(best["text"] == english)
    return {language: sum(found) / len(found) for language, found in right.items()}


def run(folder: Path, data: Path) -> dict[str, float]:
    """Train on `data`, search in `folder`, and return accuracy@1 by language."""
    pairs, held_out = split(read(data))
    print(f"training on {len(pairs):,} pairs; {len(held_out):,} English sentences are held out")
    train(pairs, folder / MODEL)
    with settings.override(models=(folder,)):  # or LANCEDB_EMBEDDERS_MODELS
        accuracy = search(folder, held_out)
    print(f"accuracy@1 among the {len(held_out):,}, {QUERIES} queries a language:")
    for language, share in accuracy.items():
        print(f"  {language}  {share:.2f}")
    mean = sum(accuracy.values()) / len(accuracy)
    print(f"mean  {mean:.3f}, by chance {1 / len(held_out):.4f}")
    return accuracy


def main() -> None:
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        sys.exit(f"no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data)


if __name__ == "__main__":
    main()
