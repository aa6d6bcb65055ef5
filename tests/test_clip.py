"""`clip`: vectors equal the model's own, every input is taken, and a bad picture is named."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import PIL.Image
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    Image,
    ImageError,
    InputError,
    ModelDriftError,
    ModelLoadError,
    TextTooLongError,
    settings,
)
from lancedb_embedders.local.store import store
from tests import image_models
from tests.models import tiny_bert

Builder = Callable[..., Path]
TEXTS = ["a photo of a sneaker", "two red shirts", "café", "x"]
LONG = "vector search finds documents by meaning " * 20

BUILDERS: dict[str, tuple[Builder, dict[str, Any]]] = {
    "clip": (image_models.tiny_clip, {}),
    "siglip": (image_models.tiny_siglip, {}),
    "siglip2": (image_models.tiny_siglip2, {}),
    "siglip-v1": (image_models.tiny_siglip_v1, {}),
    "sentence-clip": (image_models.tiny_sentence_clip, {}),
    "legacy-clip": (image_models.tiny_sentence_clip, {"legacy": True}),
    "legacy-dense": (image_models.tiny_sentence_clip, {"legacy": True, "out": 16}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def get(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            build, options = BUILDERS[name]
            build(folder, **options)
        return folder

    return get


@pytest.fixture
def clip(models: Callable[[str], Path]) -> Callable[..., Any]:
    def create(model: str = "clip", **options: Any) -> Any:
        return get_registry().get("clip").create(name=models(model), **options)

    return create


@pytest.fixture(scope="module")
def photos(data: Path) -> list[Path]:
    return sorted((data / "img_coco" / "a" / "images").glob("*.jpg"))


def cosines(a: Any, b: Any) -> Any:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).resize(size)


def as_file(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def photo_table(db: Any, function: Any, kind: Any = bytes, name: str = "photos") -> Any:
    class Photo(LanceModel):
        id: int
        image: kind | None = function.SourceField(default=None)
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    return db.create_table(name, schema=Photo)


def first(table: Any, query: Any) -> tuple[int, float]:
    [hit] = table.search(query).distance_type("cosine").limit(1).to_list()
    return hit["id"], hit["_distance"]


# -- vectors are the model's own


def transformers_own(folder: Path, texts: list[str], pictures: list[PIL.Image.Image]) -> Any:
    import torch
    from transformers import AutoModel, AutoProcessor

    model: Any = AutoModel.from_pretrained(folder).eval()
    processor: Any = AutoProcessor.from_pretrained(folder)
    padding = "max_length" if model.config.model_type != "clip" else True
    length = model.config.text_config.max_position_embeddings
    words = processor(
        text=texts, padding=padding, max_length=length, truncation=True, return_tensors="pt"
    )
    pixels = processor(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        return (
            model.get_text_features(**words).pooler_output.numpy(),
            model.get_image_features(**pixels).pooler_output.numpy(),
        )


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2", "siglip-v1"])
def test_vectors_equal_those_of_transformers(
    name: str, clip: Any, models: Callable[[str], Path], photos: list[Path]
) -> None:
    pictures = [PIL.Image.open(path).convert("RGB") for path in photos]
    texts, images = transformers_own(models(name), [*TEXTS, LONG], pictures)
    function = clip(name, on_overflow="truncate")
    assert cosines(function.compute_query_embeddings([*TEXTS, LONG]), texts).min() >= 0.9999
    assert cosines(function.compute_source_embeddings(photos), images).min() >= 0.9999


@pytest.mark.parametrize("name", ["sentence-clip", "legacy-clip", "legacy-dense"])
def test_vectors_equal_those_of_sentence_transformers(
    name: str, clip: Any, models: Callable[[str], Path], photos: list[Path]
) -> None:
    from sentence_transformers import SentenceTransformer

    own: Any = SentenceTransformer(str(models(name)), device="cpu")
    pictures = [PIL.Image.open(path).convert("RGB") for path in photos[:10]]
    function = clip(name)
    assert cosines(function.compute_query_embeddings(TEXTS), own.encode(TEXTS)).min() >= 0.9999
    found = function.compute_source_embeddings(pictures)
    assert cosines(found, own.encode(pictures)).min() >= 0.9999


def test_a_model_of_a_repositorys_own_code(tmp_path: Path, clip: Any) -> None:
    folder = image_models.own_code_clip(tmp_path / "own")
    create = get_registry().get("clip").create
    with pytest.raises(ModelLoadError, match="TRUST_REMOTE_CODE"):
        create(name=folder).compute_query_embeddings("a")
    pictures = [picture(i, (50, 40 + i)) for i in range(5)]
    with settings.override(trust_remote_code=True):
        found = create(name=folder)
        for values in (pictures, TEXTS):
            role = "query" if values is TEXTS else "source"
            ours, own = (getattr(f, f"compute_{role}_embeddings")(values) for f in (found, clip()))
            assert cosines(ours, own).min() >= 0.9999


@pytest.mark.parametrize("name", BUILDERS)
def test_dimensions_and_context_are_known_before_a_model_is_loaded(name: str, clip: Any) -> None:
    store.clear()
    function = clip(name)
    dims = function.ndims()
    assert len(store) == 0
    assert function.compute_query_embeddings("a")[0].shape == (dims,)
    assert function.max_length == (64 if "siglip" in name else 77)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip-v1"])
def test_a_long_text_follows_on_overflow(name: str, clip: Any) -> None:
    with pytest.warns(EmbeddingWarning, match=r"longer than \d\d tokens and were cut"):
        clip(name).compute_query_embeddings(LONG)
    with pytest.raises(TextTooLongError, match=r"longer than the \d\d tokens"):
        clip(name, on_overflow="error").compute_query_embeddings(LONG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip(name, on_overflow="truncate").compute_query_embeddings(LONG)


def test_vectors_are_normalized_and_cut(clip: Any) -> None:
    pictures = [picture(i) for i in range(3)]
    whole = clip().compute_source_embeddings(pictures)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    cut = clip(truncate_dim=8)
    assert cut.ndims() == 8
    assert cosines(cut.compute_source_embeddings(pictures), whole[:, :8]).min() > 0.9999
    assert np.ptp(np.linalg.norm(clip(normalize=False).compute_source_embeddings(pictures), axis=1))


def test_pictures_may_have_any_shape(clip: Any) -> None:
    shapes = [(1, 1), (1, 500), (500, 1), (3, 2), (64, 64), (65, 63), (640, 480)]
    for name in ("clip", "siglip2"):
        found = clip(name).compute_source_embeddings([picture(0, shape) for shape in shapes])
        assert np.isfinite(found).all()


def test_batches_change_nothing(clip: Any) -> None:
    pictures = [picture(i, (30 + i, 50)) for i in range(70)]
    for name in ("clip", "siglip2"):
        function = clip(name)
        together = function.compute_source_embeddings(pictures)
        for i in (0, 33, 69):
            alone = function.compute_source_embeddings([pictures[i]])
            np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
        by_five = clip(name, batch_tokens=5 * 17)
        np.testing.assert_allclose(by_five.compute_source_embeddings(pictures), together, atol=1e-5)


def test_another_precision_agrees(clip: Any) -> None:
    pictures = [picture(i) for i in range(5)]
    found = clip(precision="bfloat16").compute_source_embeddings(pictures)
    assert (
        cosines(found, clip(precision="float32").compute_source_embeddings(pictures)).min() > 0.99
    )


# -- tables


def test_a_table_of_bytes_is_searched_by_picture_and_by_text(
    db: Any, clip: Any, photos: list[Path]
) -> None:
    table = photo_table(db, clip())
    table.add([{"id": i, "image": path.read_bytes()} for i, path in enumerate(photos)])
    whole = PIL.Image.open(photos[7])
    queries = [
        photos[7],
        Image(str(photos[7])),
        Image(photos[7].as_uri()),
        photos[7].read_bytes(),
        whole,
        Image(np.asarray(whole.convert("RGB"))),
    ]
    for query in queries:
        found, distance = first(table, query)
        assert (found, round(distance, 4)) == (7, 0)
    text = clip().compute_query_embeddings("a dog")[0]
    assert table.search("a dog").limit(5).to_list() == table.search(text).limit(5).to_list()


def test_a_table_of_references(db: Any, clip: Any, photos: list[Path]) -> None:
    table = photo_table(db, clip(), str)
    data = base64.b64encode(photos[2].read_bytes()).decode()
    references = [str(photos[0]), photos[1].as_uri(), f"data:image/jpeg;base64,{data}"]
    table.add([{"id": i, "image": reference} for i, reference in enumerate(references)])
    assert [first(table, path)[0] for path in photos[:3]] == [0, 1, 2]


def test_texts_searched_by_picture(db: Any, clip: Any) -> None:
    function = clip(source="text")
    table = photo_table(db, function, str)
    table.add([{"id": i, "image": text} for i, text in enumerate(TEXTS)])
    by_hand = function.compute_query_embeddings(picture())[0]
    assert first(table, picture()) == first(table, by_hand)
    assert first(table, TEXTS[2])[0] == 2


def test_auto_takes_both(db: Any, clip: Any, photos: list[Path]) -> None:
    table = photo_table(db, clip(source="auto"), str)
    table.add([{"id": 0, "image": str(photos[0])}, {"id": 1, "image": "a photo of a dog"}])
    assert first(table, photos[0])[0] == 0
    assert first(table, "a photo of a dog")[0] == 1


@pytest.mark.slow
def test_lance_blob_columns(
    db: Any, models: Callable[[str], Path], photos: list[Path], python: Callable[..., str]
) -> None:
    # In a process of its own, and the old kind of blob before the new one: once LanceDB knows that,
    # it cannot write the old kind any more.
    code = """
import sys, lancedb, lancedb_embedders, pyarrow as pa
from lancedb.embeddings import EmbeddingFunctionConfig, get_registry

clip = get_registry().get("clip").create(name=sys.argv[2])
config = EmbeddingFunctionConfig(vector_column="vector", source_column="image", function=clip)
files = [open(path, "rb").read() for path in sys.argv[3:]]
rows = [{"id": i, "image": file} for i, file in enumerate(files)]

def try_out(name, field, rows):
    vector = pa.field("vector", pa.list_(pa.float32(), clip.ndims()))
    schema = pa.schema([pa.field("id", pa.int64()), field, vector])
    db = lancedb.connect(sys.argv[1])
    table = db.create_table(name, schema=schema, embedding_functions=[config])
    table.add(rows)
    print(table.search(files[2]).limit(1).to_list()[0]["id"])

as_arrow = pa.table({"id": range(len(files)), "image": files})
try_out("large", pa.field("image", pa.large_binary()), rows)
marked = {"lance-encoding:blob": "true"}
try_out("v1", pa.field("image", pa.large_binary(), metadata=marked), as_arrow)
try_out("v2", lancedb.blob("image"), rows)
"""
    out = python(code, db.uri, str(models("clip")), *map(str, photos[:4]))
    assert out.split() == ["2", "2", "2"]


async def test_async(tmp_path: Path, clip: Any, photos: list[Path]) -> None:
    db = await lancedb.connect_async(tmp_path / "db")
    function = clip()

    class Photo(LanceModel):
        id: int
        image: bytes = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = await db.create_table("photos", schema=Photo)
    await table.add([{"id": i, "image": path.read_bytes()} for i, path in enumerate(photos[:9])])
    for query in (photos[4], Image(photos[4]), PIL.Image.open(photos[4]), photos[4].read_bytes()):
        search: Any = await table.search(query, query_type="vector")
        assert (await search.limit(1).to_list())[0]["id"] == 4
    assert len(await (await table.search("a dog")).limit(3).to_list()) == 3


def test_pixels_in_rows_go_in_as_bytes(db: Any, clip: Any) -> None:
    table = photo_table(db, clip())
    table.add([{"id": i, "image": Image(picture(i)).encode()} for i in range(3)])
    assert first(table, picture(1))[0] == 1


def test_equal_pictures_go_through_the_model_once(clip: Any) -> None:
    function = clip()
    values = [as_file(picture(0)), as_file(picture(1)), as_file(picture(0)), "a.png", "a.png"]
    batch = function.batch_of(values, "document")
    assert batch.index.tolist() == [0, 1, 0, 2, 2]


def test_texts_and_pictures_in_one_call(clip: Any) -> None:
    function = clip(source="auto")
    values = ["a dog", as_file(picture(0)), "a cat", None, as_file(picture(1))]
    with pytest.warns(EmbeddingWarning, match=r"1 of 5 rows have no picture \(row 3\)"):
        mixed = function.compute_source_embeddings(values)
    texts = function.compute_source_embeddings(["a dog", "a cat"])
    pictures = function.compute_source_embeddings([picture(0), picture(1)])
    expected = [texts[0], pictures[0], texts[1], None, pictures[1]]
    for found, wanted in zip(mixed, expected, strict=True):
        assert (found is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, atol=1e-5)


# -- pictures that cannot be had


def bad_rows() -> Iterator[tuple[str, Any, str]]:
    whole = as_file(picture(0, (300, 200)), "JPEG")
    yield "truncated", whole[: len(whole) // 2], "JPEG"
    yield "text", b"this is no picture at all", "picture"
    yield "web page", b"<!DOCTYPE html><html><body>404</body></html>", "HTML"
    yield "missing", "/no/such/picture.jpg", "there is no such file"
    yield "pixels", as_file(PIL.Image.new("1", (20_000, 20_000))), "pixels"


@pytest.mark.parametrize(
    ("what", "value", "reason"), list(bad_rows()), ids=lambda value: str(value)[:12]
)
def test_a_bad_picture_is_an_error_with_row_and_reference(
    what: str, value: Any, reason: str, db: Any, clip: Any
) -> None:
    kind = type(value)
    table = photo_table(db, clip(), kind)
    good: Any = as_file(picture(0))
    if kind is str:
        good = f"data:image/png;base64,{base64.b64encode(good).decode()}"
    rows = [{"id": 0, "image": good}, {"id": 1, "image": value}, {"id": 2, "image": good}]
    name = Image(value).reference.replace("(", r"\(")
    with pytest.raises(RuntimeError, match=rf"row 1 \({name}\): .*{reason}"):
        table.add(rows)
    assert table.count_rows() == 0
    with pytest.raises(ImageError, match=reason) as caught:
        clip().compute_source_embeddings([row["image"] for row in rows])
    assert caught.value.rows == (1,)


def test_on_bad_image_null_leaves_the_row_to_on_bad_vectors(db: Any, clip: Any) -> None:
    table = photo_table(db, clip(on_bad_image="null"))
    images = [as_file(picture(0)), b"no picture", None, as_file(picture(1)), b"no picture"]
    rows = [{"id": i, "image": image} for i, image in enumerate(images)]
    with pytest.warns(EmbeddingWarning) as caught:
        table.add(rows, on_bad_vectors="null")
    messages = [str(warning.message) for warning in caught]
    assert any("1 of 5 rows have no picture (row 2)" in message for message in messages)
    [bad] = [message for message in messages if "cannot be had" in message]
    assert bad.startswith("2 of 5 pictures cannot be had and get no vector (rows 1, 4, 10 bytes: ")
    stored = table.to_arrow().sort_by("id")["vector"].to_pylist()
    assert [vector is None for vector in stored] == [False, True, True, False, True]
    assert first(table, picture(1))[0] == 3


def test_all_bad_with_null(clip: Any) -> None:
    with pytest.warns(EmbeddingWarning, match="2 of 2 pictures cannot be had"):
        assert clip(on_bad_image="null").compute_source_embeddings([b"x", b"y"]) == [None, None]


def test_a_bad_query_is_an_error_whatever_rows_do(db: Any, clip: Any) -> None:
    table = photo_table(db, clip(on_bad_image="null"))
    table.add([{"id": 0, "image": as_file(picture(0))}])
    with pytest.raises(ImageError, match=r"^the query \(3 bytes\): "):
        table.search(b"abc").limit(1).to_list()
    with pytest.raises(InputError, match="the query is empty"):
        table.search(b"").limit(1).to_list()


def test_a_text_among_references_is_an_error_and_never_embedded_as_text(clip: Any) -> None:
    with pytest.raises(ImageError, match=r"row 1 \(a dog on a beach\): there is no such file"):
        clip().compute_source_embeddings([as_file(picture()), "a dog on a beach"])


def test_local_files_stay_within_the_roots(clip: Any, tmp_path: Path, photos: list[Path]) -> None:
    with (
        settings.override(image_roots=(tmp_path,)),
        pytest.raises(ImageError, match=r"row 0 .*outside the folders"),
    ):
        clip().compute_source_embeddings([str(photos[0])])


# -- options


def test_a_model_for_texts_only_is_refused(clip: Any, tmp_path: Path) -> None:
    create = get_registry().get("clip").create
    with pytest.raises(ConfigurationError, match="all-MiniLM-L6-v2 embeds texts only; use sbert"):
        create(name="all-MiniLM-L6-v2")
    function = create(name=tiny_bert(tmp_path / "bert"))
    with pytest.raises(ConfigurationError, match="the model takes no pictures"):
        function.compute_source_embeddings([picture()])


def test_cutting_a_model_that_was_not_trained_for_it_is_said(clip: Any) -> None:
    with pytest.warns(EmbeddingWarning, match="not trained to be cut"):
        get_registry().get("clip").create(truncate_dim=256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip(truncate_dim=8)


def test_prompts_are_for_texts_that_look_for_texts() -> None:
    create = get_registry().get("clip").create
    assert create(name="jinaai/jina-clip-v2").query_prompt == ""
    assert create(name="jinaai/jina-clip-v2", source="text").query_prompt.startswith("Represent")


def test_a_template_is_for_texts(clip: Any) -> None:
    with pytest.raises(ConfigurationError, match='needs source="text"'):
        clip(template="{title}")
    rows = [{"title": "a dog"}]
    found = clip(template="a photo of {title}", source="text").compute_source_embeddings(rows)
    expected = clip(source="text").compute_source_embeddings(["a photo of a dog"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_guard_looks_at_the_picture_tower_too(db: Any, tmp_path: Path) -> None:
    from transformers import CLIPModel

    image_models.tiny_clip(tmp_path / "before" / "guarded-clip")
    with settings.override(models=(tmp_path / "before",)):
        table = photo_table(db, get_registry().get("clip").create(name="guarded-clip"))
    folder = image_models.tiny_clip(tmp_path / "after" / "guarded-clip")
    model: Any = CLIPModel.from_pretrained(folder)
    model.visual_projection.weight.data.neg_()
    model.save_pretrained(folder)
    with settings.override(models=(folder.parent,)):
        with pytest.raises(ModelDriftError):
            table.search("a dog").limit(1).to_list()
        with pytest.raises(RuntimeError, match="ModelDriftError"):
            table.add([{"id": 0, "image": as_file(picture())}])


# -- the cache


def test_cached_pictures_are_known_by_content(clip: Any, tmp_path: Path) -> None:
    function = clip(cache=True)
    file = tmp_path / "a.png"
    file.write_bytes(as_file(picture(0)))
    whole = function.compute_source_embeddings([file, as_file(picture(1)), picture(2)])
    signed = type(function).create(**function.safe_model_dump(), cache=True)
    store.clear()
    again = signed.compute_source_embeddings([as_file(picture(0)), as_file(picture(1)), picture(2)])
    assert len(store) == 0, "all were in the cache: no model was loaded"
    np.testing.assert_array_equal(again, whole)
    file.write_bytes(as_file(picture(3)))
    changed = signed.compute_source_embeddings([file])
    assert cosines(changed, whole[:1])[0] < 0.9999


# -- many


@pytest.mark.slow
@pytest.mark.parametrize("batches", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_memory_stays_flat_over_many_pictures(
    db: Any, clip: Any, models: Callable[[str], Path], python: Callable[..., str], batches: int
) -> None:
    photo_table(db, clip())
    code = """
import io, sys, lancedb, lancedb_embedders, numpy as np, PIL.Image, psutil, pyarrow as pa
me, seen = psutil.Process(), []

def jpeg(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()

kinds = [jpeg(seed) for seed in range(50)]

def batches():
    for i in range(int(sys.argv[2])):
        seen.append(me.memory_info().rss)
        # What follows the end of a JPEG makes these files different, and 60 KB each.
        files = [kinds[j % 50] + f"{i} {j}".encode().ljust(60_000) for j in range(100)]
        yield pa.RecordBatch.from_pydict({"id": list(range(100)), "image": files})

lancedb.connect(sys.argv[1]).open_table("photos").add(batches())
print((seen[-1] - seen[10]) // 2**20)
"""
    env = {"LANCEDB_EMBEDDERS_MODELS": str(models("clip").parent)}
    # The files of 49 batches weigh 290 MB.
    assert int(python(code, db.uri, str(batches), env=env)) < 150


def test_remote_pictures_are_fetched_several_at_once(clip: Any) -> None:
    from tests.picture_server import PictureServer

    with PictureServer() as server, settings.override(image_hosts=("127.0.0.1",)):
        for i in range(12):
            server.serve(f"/{i}.png", as_file(picture(i)))
        urls = [f"{server.url}/{i}.png" for i in range(12)]
        found = clip().compute_source_embeddings(urls)
        expected = clip().compute_source_embeddings([picture(i) for i in range(12)])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with pytest.raises(ImageError, match=r"row 1 \(http://127.*/none.png\): .*404"):
            clip().compute_source_embeddings([urls[0], f"{server.url}/none.png"])
    with pytest.raises(ImageError, match=r"row 0 .*127\.0\.0\.1"):
        clip().compute_source_embeddings(["http://127.0.0.1:9/a.png"])
