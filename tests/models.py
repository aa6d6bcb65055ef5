"""Small models with seeded random weights, built by the libraries' own classes and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog near the old river bank.",
    "Vector search finds documents by meaning, not only by the words they share.",
    "Rust is fast and Python is pleasant; naïve café owners like both.",
    "query: how does one store embeddings? passage: in a table, row by row.",
]

#: Large enough that texts, poolings and prompts give clearly different vectors.
_SPREAD = 0.3


def tiny_bert(
    folder: Path,
    *,
    dim: int = 32,
    pooling: str | tuple[str, ...] = "mean",
    prompts: Mapping[str, str] | None = None,
    default_prompt_name: str | None = None,
    max_seq_length: int | None = None,
    positions: int = 64,
    include_prompt: bool = True,
    truncate_dim: int | None = None,
    normalize: bool = True,
    seed: int = 0,
) -> Path:
    """Save a BERT of two layers: word pieces, right padding, learned positions."""
    transformer = _bert(folder, dim=dim, positions=positions, seed=seed, length=max_seq_length)
    modules = [transformer, Pooling(dim, cast("Any", pooling), include_prompt=include_prompt)]
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(
        modules=cast("Any", modules),
        default_prompt_name=default_prompt_name,
        prompts=dict(prompts or {}),
        truncate_dim=truncate_dim,
        device="cpu",
    )
    saved = _save(model, folder)
    if prompts is not None:  # exactly these, as models write them that were not saved by 6.x
        change_json(folder / "config_sentence_transformers.json", prompts=dict(prompts))
    return saved


def tiny_dense(folder: Path, *, dim: int = 32, out: int = 16, seed: int = 0) -> Path:
    """Save a BERT whose pooled vector goes through a dense layer."""
    modules = [_bert(folder, dim=dim, seed=seed), Pooling(dim, "mean"), _dense(dim, out, seed)]
    return _save(SentenceTransformer(modules=cast("Any", modules), device="cpu"), folder)


def tiny_roberta(
    folder: Path,
    *,
    dim: int = 32,
    length: int = 48,
    growing: bool = False,
    prompts: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Save a RoBERTa: bytes, and positions that begin after the padding token.

    With ``growing=True`` its normalizer makes many characters of one, as XLM-R's does.
    """
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab, merges = _train_bytes(tokens)
    tokenizer: Any = RobertaTokenizer(vocab=vocab, merges=merges)
    if growing:  # RobertaTokenizer itself would drop the normalizer when it is loaded
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.NFKC()
        tokenizer = _fast(backend, tokenizer.special_tokens_map)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * dim,
        max_position_embeddings=length + 2,
        type_vocab_size=1,
        initializer_range=_SPREAD,
        pad_token_id=1,
    )
    transformer = _transformer(folder, _seeded(RobertaModel, config, seed), tokenizer, length)
    modules = [transformer, Pooling(dim, "mean"), Normalize()]
    model = SentenceTransformer(
        modules=cast("Any", modules), prompts=dict(prompts or {}), device="cpu"
    )
    return _save(model, folder)


def tiny_qwen(
    folder: Path,
    *,
    dim: int = 32,
    length: int = 48,
    pooling: str = "lasttoken",
    include_prompt: bool = True,
    ending: bool = False,
    prompts: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Save a Qwen3: causal, padded on the left, the last token is taken.

    With ``ending=True`` a token ends each text, the one that pads as well.
    """
    end = "<|endoftext|>"
    vocab, merges = _train_bytes([end])
    tokenizer: Any = Qwen2Tokenizer(vocab=vocab, merges=merges, padding_side="left")
    if ending:  # Qwen2Tokenizer itself would drop the ending when it is loaded
        backend = tokenizer.backend_tokenizer
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, vocab[end])]
        )
        tokenizer = _fast(backend, {"pad_token": end, "eos_token": end, "padding_side": "left"})
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=dim // 2,
        intermediate_size=2 * dim,
        max_position_embeddings=256,
        initializer_range=_SPREAD,
    )
    transformer = _transformer(folder, _seeded(Qwen3Model, config, seed), tokenizer, length)
    modules = [
        transformer,
        Pooling(dim, cast("Any", pooling), include_prompt=include_prompt),
        Normalize(),
    ]
    model = SentenceTransformer(
        modules=cast("Any", modules), prompts=dict(prompts or {}), device="cpu"
    )
    return _save(model, folder)


def tiny_static(folder: Path, *, dim: int = 32, cut: int | None = None, seed: int = 0) -> Path:
    """Save a static model: the mean of its words' vectors, of any number of words.

    `cut` is the length that its tokenizer file itself asks for, as some files do.
    """
    vocab = _train_words()
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if cut is not None:
        tokenizer.enable_truncation(cut)
    weights = torch.randn(len(vocab), dim, generator=torch.Generator().manual_seed(seed))
    static = StaticEmbedding(tokenizer, embedding_weights=weights)
    return _save(SentenceTransformer(modules=[static], device="cpu"), folder)


def tiny_router(
    folder: Path,
    *,
    dim: int = 32,
    length: int = 48,
    prompts: Mapping[str, str] | None = None,
) -> Path:
    """Save a model that sends queries through one BERT and documents through another."""
    query, document = (_bert(folder, dim=dim, seed=seed, length=length) for seed in (1, 2))
    router = Router.for_query_document(
        cast("Any", [query, Pooling(dim)]), cast("Any", [document, Pooling(dim)])
    )
    model = SentenceTransformer(
        modules=cast("Any", [router, Normalize()]), prompts=dict(prompts or {}), device="cpu"
    )
    return _save(model, folder)


def plain_bert(folder: Path, *, dim: int = 32, seed: int = 0) -> Path:
    """Save a BERT as transformers does: nothing of sentence-transformers in the folder."""
    model, tokenizer = _bert_parts(dim, 64, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: with models so small, more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def change_json(file: Path, **values: Any) -> None:
    """Set `values` in a JSON file that holds an object."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def _bert(
    folder: Path, *, dim: int, seed: int, positions: int = 64, length: int | None = None
) -> Any:
    model, tokenizer = _bert_parts(dim, positions, seed)
    return _transformer(folder, model, tokenizer, length)


def _bert_parts(dim: int, positions: int, seed: int) -> tuple[Any, Any]:
    tokenizer = BertTokenizer(vocab=_train_words())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * dim,
        max_position_embeddings=positions,
        initializer_range=_SPREAD,
    )
    return _seeded(BertModel, config, seed), tokenizer


def _transformer(folder: Path, model: Any, tokenizer: Any, length: int | None) -> Any:
    # sentence-transformers takes a saved model only.
    parts = folder.with_name(f"{folder.name}-parts")
    model.save_pretrained(parts)
    tokenizer.save_pretrained(parts)
    return Transformer(str(parts), max_seq_length=length)


def _fast(backend: Tokenizer, options: Mapping[str, Any]) -> Any:
    kind: Any = PreTrainedTokenizerFast
    return kind(tokenizer_object=backend, **options)


def _seeded(kind: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval()


def _dense(dim: int, out: int, seed: int) -> Dense:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Dense(dim, out)


def _save(model: SentenceTransformer, folder: Path) -> Path:
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def _train_words() -> dict[str, int]:
    # Not by a trainer, which breaks ties in another order in each process.
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normal, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {
        word
        for sentence in SENTENCES
        for word, _ in split.pre_tokenize_str(normal.normalize_str(sentence))
    }
    letters = {letter for word in words for letter in word}
    pieces = sorted(words | letters | {f"##{letter}" for letter in letters})
    return {piece: number for number, piece in enumerate([*special, *pieces])}


def _train_bytes(special: list[str]) -> tuple[dict[str, int], list[Any]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    saved = json.loads(tokenizer.to_str())["model"]
    return saved["vocab"], [tuple(pair) for pair in saved["merges"]]
