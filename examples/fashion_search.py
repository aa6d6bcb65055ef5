"""Train a small CLIP on 300 pictures of clothes in a minute, then search others in words.

Training needs ``pip install "lancedb-embedders[clip]" "sentence-transformers[train]"``. The
pictures come from Fashion-MNIST (MIT).
"""

import csv
import io
import json
import os
import random
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lancedb
import torch
from datasets import Dataset
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from PIL import Image, ImageChops
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from lancedb_embedders import settings

NAMES = {  # of a class: what it is searched by, and other words for it
    "T-shirt": ("a T-shirt", "a tee"),
    "trouser": ("trousers", "a pair of trousers"),
    "pullover": ("a pullover", "a sweater"),
    "dress": ("a dress", "a gown"),
    "coat": ("a coat", "a jacket"),
    "sandal": ("a sandal", "a pair of sandals"),
    "shirt": ("a shirt", "a button-up shirt"),
    "sneaker": ("a sneaker", "a pair of sneakers"),
    "bag": ("a bag", "a handbag"),
    "ankle boot": ("an ankle boot", "a pair of ankle boots"),
}
CAPTIONS = ("{}", "a photo of {}", "a picture of {}", "this is {}")
MODEL = "tiny-fashion-clip"
SIZE = 28  # of a picture, in pixels
HELD_OUT = 15  # pictures of each class

Pictures = list[tuple[bytes, str]]  # a PNG file, and the class of what it shows


def read(data: Path) -> Pictures:
    """Return all pictures with their classes."""
    archive = data / "img_fashion" / "a.zip"
    table = archive.with_name("a.labels.tsv").read_text(encoding="utf-8").splitlines()
    with zipfile.ZipFile(archive) as files:
        rows = csv.DictReader(table, delimiter="\t")
        return [(files.read(row["file"]), row["label"]) for row in rows]


def split(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Return pictures to learn from, and `HELD_OUT` others of each class."""
    classes: dict[str, Pictures] = defaultdict(list)
    for picture, name in random.Random(0).sample(pictures, len(pictures)):
        classes[name].append((picture, name))
    learned = [one for found in classes.values() for one in found[HELD_OUT:]]
    held_out = [one for found in classes.values() for one in found[:HELD_OUT]]
    return learned, held_out


def tokenizer() -> Any:
    """Return a tokenizer that knows the words of the captions, and spells all others."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Letters that end a word are tokens of their own; what is unknown would end the text.
    known = [*letters, *(f"{a}</w>" for a in letters), "<|startoftext|>", "<|endoftext|>"]
    texts = [*CAPTIONS, *(text for names in NAMES.values() for text in names)]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        special_tokens=known, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(map(str.lower, texts), trainer)
    trained = json.loads(backend.to_str())["model"]
    merges: Any = [tuple(pair) for pair in trained["merges"]]
    return CLIPTokenizer(vocab=trained["vocab"], merges=merges, model_max_length=32)


def untrained(folder: Path) -> None:
    """Save a CLIP that sees a picture as four patches."""
    words = tokenizer()
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": words.model_max_length,
        "vocab_size": len(words),
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": SIZE // 2,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    model = CLIPModel(config)
    # Far smaller by default than what the patches hold: places would take long to be learned.
    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=0.3)
    crop = {"height": SIZE, "width": SIZE}
    pixels: Any = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=crop)
    for part in (model, words, pixels):
        part.save_pretrained(folder)


def vary(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the rows with each picture moved or mirrored, and captions in other words."""
    captions = [
        random.choice(CAPTIONS).format(random.choice(NAMES[name])) for name in rows["caption"]
    ]
    return {**rows, "picture": list(map(moved, rows["picture"])), "caption": captions}


def moved(picture: Image.Image) -> Image.Image:
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageChops.offset(picture, random.randint(-2, 2), random.randint(-2, 2))


class ClassContrast(torch.nn.Module):
    """CLIP's loss, in which all pictures and captions of one class belong together."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor
    ) -> torch.Tensor:
        pictures, captions = (
            functional.normalize(self.model(feature)["sentence_embedding"], dim=-1)
            for feature in features
        )
        similar = 10 * pictures @ captions.T
        same = (labels[:, None] == labels).float()
        target = same / same.sum(dim=1)
        return functional.cross_entropy(similar, target) + functional.cross_entropy(
            similar.T, target
        )


def train(pictures: Pictures, folder: Path) -> None:
    """Learn pictures and words together, and save the model."""
    # Threads that wait for a core that others keep busy take longer than one thread does alone.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    untrained(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder))], device="cpu")
    classes = list(NAMES)
    dataset = Dataset.from_dict(
        {
            "picture": [Image.open(io.BytesIO(picture)) for picture, _ in pictures],
            "caption": [name for _, name in pictures],
            "label": [classes.index(name) for _, name in pictures],
        }
    ).with_transform(vary)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=80,
        per_device_train_batch_size=30,
        learning_rate=1e-3,
        weight_decay=0.5,  # strong, for so few pictures
        warmup_steps=0.1,
        seed=0,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    loss = ClassContrast(model)
    SentenceTransformerTrainer(model, arguments, train_dataset=dataset, loss=loss).train()
    model.save_pretrained(str(folder))


def search(folder: Path, pictures: Pictures) -> dict[str, float]:
    """Return, by query, the share of the ten nearest pictures that show what it asks for."""
    clip = get_registry().get("clip").create(name=MODEL, source="image")

    class Picture(LanceModel):
        image: bytes = clip.SourceField()
        shows: str
        vector: clip.Vector() = clip.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder / "db").create_table("pictures", schema=Picture)
    table.add([{"image": picture, "shows": name} for picture, name in pictures])

    precision = {}
    for name, (query, *_) in NAMES.items():
        nearest = table.search(query).distance_type("cosine").limit(10).to_list()
        precision[query] = sum(found["shows"] == name for found in nearest) / len(nearest)
    return precision


def recognize(folder: Path, pictures: Pictures) -> float:
    """Return the share of pictures whose nearest text is the name of what they show."""
    clip = get_registry().get("clip").create(name=MODEL, source="text")

    class Name(LanceModel):
        text: str = clip.SourceField()
        means: str
        vector: clip.Vector() = clip.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder / "db").create_table("names", schema=Name)
    table.add([{"text": texts[0], "means": name} for name, texts in NAMES.items()])
    right: list[bool] = [
        table.search(picture).distance_type("cosine").limit(1).to_list()[0]["means"] == name
        for picture, name in pictures
    ]
    return sum(right) / len(right)


def run(folder: Path, data: Path) -> dict[str, float]:
    """Train on `data`, search in `folder`, and return precision@10 by query."""
    learned, held_out = split(read(data))
    print(f"training on {len(learned)} pictures; {len(held_out)} others are searched")
    train(learned, folder / MODEL)
    with settings.override(models=(folder,)):  # or LANCEDB_EMBEDDERS_MODELS
        precision = search(folder, held_out)
        accuracy = recognize(folder, held_out)
    print("precision@10 of pictures by text:")
    for query, share in precision.items():
        print(f"  {query:<13}  {share:.1f}")
    chance = 1 / len(NAMES)
    print(f"mean  {sum(precision.values()) / len(precision):.2f}, by chance {chance:.2f}")
    print(f"accuracy of texts by picture  {accuracy:.2f}, by chance {chance:.2f}")
    return precision


def main() -> None:
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        sys.exit(f"no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data)


if __name__ == "__main__":
    main()
