"""The model to train: found as functions find theirs, loaded with all that makes its vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lancedb_embedders.batch import Role
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local import pooling
from lancedb_embedders.local.declared import takes_pictures
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.locate import locate
from lancedb_embedders.local.torch_load import find_device, load_model
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.fine_tuning.live_model import LiveModel
from lancedb_embedders.tools.given import function_of

#: Options of a function that say what becomes of a model's vectors; the trained one keeps them.
_KEPT = ("normalize", "truncate_dim", "quantization", "clean")


@dataclass(frozen=True)
class Base:
    """A model before training.

    Attributes
    ----------
    function : LocalTextEmbedder
        What embeds with it.
    folder : pathlib.Path
        Where its files are.
    model : SentenceTransformer
        In memory, float32, with the function's pooling, prompts and length.
    prompts : dict
        Text put before what has a role.
    """

    function: LocalTextEmbedder
    folder: Path
    model: Any
    prompts: dict[Role, str]

    def live(self) -> LiveModel:
        """Return a function for the weights as they are at the time."""
        return LiveModel.of(self.model, self.prompts, self.length, **self.kept)

    @property
    def length(self) -> int | None:
        """Tokens that a text may have."""
        found: int | None = self.function.resolved().get("max_length")
        return found

    @property
    def kept(self) -> dict[str, Any]:
        """Options of the function that hold for the trained model too."""
        return {name: getattr(self.function, name) for name in _KEPT}

    def reopened(self, folder: Path, **options: Any) -> Embedder:
        """Return a function like that of the base, for the model in `folder`."""
        made: Embedder = type(self.function).create(name=str(folder), **{**self.kept, **options})
        return made

    def cut(self, function: Embedder, size: int) -> Embedder:
        """Return a function that gives the first dimensions of another's vectors."""
        options = {**function.model_dump(), **function.given_options(), "truncate_dim": size}
        made: Embedder = type(function).create(**options)
        return made

    def digest(self) -> str:
        """Return what tells the weights from others."""
        found = hashlib.blake2b(digest_size=16)
        for file in sorted(self.folder.rglob("*")):
            if file.suffix in {".safetensors", ".bin", ".json"} and file.is_file():
                found.update(file.relative_to(self.folder).as_posix().encode())
                found.update(file.read_bytes())
        return found.hexdigest()


def base_of(given: Any) -> Base:
    """Return the model to train.

    Parameters
    ----------
    given : Embedder or str or os.PathLike
        A function of this package with a model on this machine, its registry name, or the name or
        folder of a model.

    Raises
    ------
    ConfigurationError
        The function's model is not on this machine, or not one of texts alone.
    ModelNotFoundError
        It is nowhere; the message says where it was looked for.
    ModelLoadError
        It is damaged, or needs code that is not trusted.
    """
    import torch

    function = function_of(given)
    if not isinstance(function, LocalTextEmbedder):
        raise ConfigurationError(
            f"{function.registry_name} cannot be trained here: its model is no model of texts on "
            "this machine; take one like sbert or multilingual"
        )
    options = function.process_options()
    current = settings.current()
    found = locate(function.name, function.revision, options["folder"], current.models)
    if takes_pictures(found.folder):
        raise ConfigurationError(f"{function.name} takes pictures; models of texts are trained")
    model = load_model(
        found.folder, find_device(options["device"]), torch.float32, current.trust_remote_code
    )
    facts = function.resolved()
    if facts["pooling"] is not None:
        pooling.change(model, facts["pooling"])
    prompts: dict[Role, str] = {
        "query": facts["query_prompt"] or "",
        "document": facts["document_prompt"] or "",
    }
    # A prompt may be known to the catalogue, or chosen by the user: the trained model declares it.
    for role, prompt in prompts.items():
        model.prompts[role] = prompt
    length = facts.get("max_length")
    if length is not None and model.max_seq_length != length:
        model.max_seq_length = length
    return Base(function, found.folder, model, prompts)
