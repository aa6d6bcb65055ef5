"""What is known of a model before it is loaded: what its folder says, then what its card says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lancedb_embedders import catalog
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.languages import UNLISTED
from lancedb_embedders.local.declared import Declared, read_declared, read_languages
from lancedb_embedders.local.locate import at_hand


@dataclass(frozen=True)
class Known:
    """What is known of a model.

    Attributes
    ----------
    facts : Declared
        What it is; None where nobody says.
    revision : str or None
        Commit of the copy on this machine, where known.
    """

    facts: Declared
    revision: str | None


def known_facts(
    name: str,
    revision: str | None,
    folder: Path | None,
    pooling: str | None,
    models: Iterable[Path],
) -> Known:
    """Tell what is known of a model without loading or downloading it.

    Parameters
    ----------
    name, revision, folder, models
        As in `lancedb_embedders.local.locate.at_hand`.
    pooling : str, optional
        Pooling in place of the model's own.

    Raises
    ------
    ConfigurationError
        The model is one behind an API.
    ModelLoadError
        Its folder is damaged.
    """
    location = at_hand(name, revision, folder, models)
    facts = Declared() if location is None else read_declared(location.folder)
    card = card_of(name, facts.dim)
    if card is not None and location is None and card.provider != "local":
        raise ConfigurationError(f"{name} is hosted by {card.provider}, not run on this machine")
    if card is not None:
        facts = _completed(facts, card)
    if location is not None or card is not None:
        # Who knows the model and names no prompt means that there is none.
        blank = {
            "query_prompt": facts.query_prompt or "",
            "document_prompt": facts.document_prompt or "",
        }
        facts = facts.model_copy(update=blank)
    if pooling is not None and pooling.count("+") != (facts.pooling or "").count("+"):
        facts = facts.model_copy(update={"dim": None})  # several modes are laid side by side
    return Known(facts, None if location is None else location.revision)


def known_languages(
    name: str, revision: str | None, folder: Path | None, models: Iterable[Path]
) -> tuple[str, ...]:
    """Return the BCP 47 codes of the languages a model was trained for; () where nobody says.

    Parameters
    ----------
    name, revision, folder, models
        As in `lancedb_embedders.local.locate.at_hand`.
    """
    location = at_hand(name, revision, folder, models)
    declared = Declared() if location is None else read_declared(location.folder)
    card = card_of(name, declared.dim)
    listed = () if card is None else card.languages
    if location is not None and UNLISTED.issuperset(listed):
        listed = read_languages(location.folder)
    return () if UNLISTED & set(listed) else listed


def forbid_prompts(name: str, *prompts: str | None) -> None:
    """Raise if a prompt is given to a model whose card forbids them.

    Raises
    ------
    ConfigurationError
        With the prompts that are to be left out.
    """
    card = catalog.find(name)
    given = [prompt for prompt in prompts if prompt]
    if card is not None and card.prompts == "forbidden" and given:
        raise ConfigurationError(
            f"{name} must not be given a prompt, it can only hurt there; leave out "
            f"{' and '.join(map(repr, given))}"
        )


def card_of(name: str, dim: int | None) -> catalog.ModelCard | None:
    """Return the card of a model that gives `dim` dimensions, as far as that is known."""
    card = catalog.find(name)
    other = card is not None and dim not in (None, card.dims)
    return None if other else card  # another model in a folder of that name has no card


def _completed(facts: Declared, card: catalog.ModelCard) -> Declared:
    return facts.model_copy(
        update={
            "dim": facts.dim or card.dims,
            "pooling": facts.pooling or card.pooling,
            "max_length": facts.max_length or card.context,
            "query_prompt": facts.query_prompt or card.query_prompt,
            "document_prompt": facts.document_prompt or card.document_prompt,
        }
    )
