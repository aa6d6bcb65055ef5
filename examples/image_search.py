"""Search the pictures of a folder by a text or a picture, and write a page of the nearest.

Without arguments it takes photos of the evaluation data (COCO) where they are, or draws pictures.
Needs ``pip install "lancedb-embedders[clip]"``.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import lancedb
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from lancedb_embedders import ClipEmbeddings, Image, ModelNotFoundError
from lancedb_embedders.tools.gallery import Hit, write_gallery
from lancedb_embedders.tools.image_folder import image_table, search_images


def photos_or_drawings(folder: Path) -> Path:
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or beside)
    if (photos := data / "img_coco" / "a" / "images").is_dir():
        return photos
    folder.mkdir()
    for color in ("red", "green", "blue", "orange"):
        for size in (80, 140, 200):
            for shape in ("ellipse", "rectangle"):
                picture = Pillow.new("RGB", (240, 240), "white")
                getattr(ImageDraw.Draw(picture), shape)((20, 20, size, size), fill=color)
                picture.save(folder / f"{color} {shape} {size}.png")
    return folder


def untrained_clip(folder: Path) -> str:
    """Save a CLIP that has learned nothing: to it, what looks alike is near all the same."""
    torch.manual_seed(0)
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokens = [*letters, *(f"{a}</w>" for a in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer: Any = CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    ends = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    tower = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(tokens)},
        vision_config={**tower, "patch_size": 28, "initializer_factor": 5.0},
        projection_dim=64,
    )
    pixels: Any = CLIPImageProcessorPil()
    for part in (CLIPModel(config), tokenizer, pixels):
        part.save_pretrained(folder)
    return str(folder)


def search(folder: Path, query: str | Image, model: str, database: Path) -> list[Hit]:
    clip = ClipEmbeddings.create(name=model, source="image", on_bad_image="null")
    table = image_table(folder, lancedb.connect(database), clip)
    print(f"{table.count_rows():,} pictures in {folder}, embedded by {clip.name}")
    return search_images(table, query)


def run(folder: Path | None, query: str | None, model: str, work: Path) -> None:
    folder = folder or photos_or_drawings(work / "drawings")
    query = query or min(map(str, folder.rglob("*.[jp][pn]g")))
    wanted = Image(Path(query)) if Path(query).is_file() else query
    try:
        hits = search(folder, wanted, model, work / "db")
    except ModelNotFoundError as error:
        if isinstance(wanted, str):  # what words mean has to be learned
            raise
        print(f"{error}\n\nInstead, a CLIP that has learned nothing finds what looks alike.")
        hits = search(folder, wanted, untrained_clip(work / "untrained"), work / "db")
    for hit in hits:
        print(f"{hit.similarity:6.3f}  {hit.name}")
    page = Path("image_search.html").resolve()
    write_gallery(wanted, hits, page)
    print(f"The page: {page}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of pictures")
    parser.add_argument("query", nargs="?", help="a text, or a picture; default: the first picture")
    parser.add_argument("--model", default="clip-ViT-B-32", help="name or folder of a CLIP")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(arguments.folder, arguments.query, arguments.model, Path(temporary))
