"""README and examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from lancedb_embedders import catalog
from lancedb_embedders.stored import registered
from tests.conftest import ROOT
from tests.image_models import tiny_clip
from tests.providers import ProviderServer

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


# They train models, and need data: tests of their names run them and look at what they find.
EXAMPLES = {file.stem: file for file in (ROOT / "examples").glob("*.py")}
TRAINING = {"fashion_search", "hybrid_search", "multilingual_search", "fine_tuning"}


@pytest.mark.parametrize("example", [EXAMPLES[stem] for stem in sorted(EXAMPLES.keys() - TRAINING)])
def test_example(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_readme_blocks_run_one_after_the_other(
    python: Callable[..., str], provider: ProviderServer, tmp_path: Path
) -> None:
    assert len(BLOCKS) >= 4
    # What the README takes for granted: pictures, and a model of the size of clip-ViT-B-32.
    tiny_clip(tmp_path / "models" / "clip-ViT-B-32", dim=512)
    (tmp_path / "photos").mkdir()
    for file in ("photos/cat.jpg", "photos/dog.jpg", "holiday.jpg"):
        PIL.Image.effect_noise((320, 240), 50).convert("RGB").save(tmp_path / file)
    env = {
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "LANCEDB_EMBEDDERS_MODELS": str(tmp_path / "models"),
    }
    python("\n".join(BLOCKS), env=env)
    assert [seen.status for seen in provider.seen] == [200, 200]


def test_readme_names_the_two_commands_every_function_and_every_model() -> None:
    assert "make demo" in README
    assert "make test" in README
    for name, cls in registered().items():
        if cls.__module__.startswith("lancedb_embedders."):
            assert f"`{name}`" in README


@pytest.mark.parametrize("card", catalog.cards().values(), ids=lambda card: card.name)
def test_readme_shows_the_catalogue(card: catalog.ModelCard) -> None:
    assert model_row(card) in README


def model_row(card: catalog.ModelCard) -> str:
    cut = ", ".join(str(dim) for dim in card.truncate_dims)
    languages = str(card.languages_count or len(card.languages))
    if card.languages == ("en",):
        languages = "English"
    elif card.languages == ("mul",) and card.languages_count is None:
        languages = "many"
    size = f"{card.parameters / 1e6:,.0f} M" if card.parameters else ""
    price = f"${card.price.usd_per_million_tokens:g}" if card.price else ""
    cells = [
        card.name.removeprefix("sentence-transformers/"),
        f"{card.dims}" + (f" ({cut})" if cut else ""),
        f"{card.context:,}" if card.context else "any",
        languages,
        size or price,
        card.licence,
    ]
    return f"| {' | '.join(cells)} |"


def test_readme_links_to_files_that_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
