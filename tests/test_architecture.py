"""Which way dependencies point, what an import costs, and which names are taken."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lancedb_embedders
from lancedb_embedders.stored import registered

PACKAGE = Path(lancedb_embedders.__file__).parent

#: Module -> its layer; a module imports from lower layers, or from its own folder.
LAYERS = {
    "__main__": 9,
    "cli": 8,
    "demo": 6,
    "tools": 7,
    "tables": 6,
    "functions": 5,
    "local": 4,
    "hosted": 4,
    "embedder": 3,
    "batch": 2,
    "stored": 2,
    "inputs": 2,
    "multivector": 2,
    "observers": 1,
    "open_tables": 1,
    "output": 1,
    "process": 1,
    "progress": 1,
    "cache": 1,
    "autoload": 1,
    "catalog": 1,
    "settings": 1,
    "extras": 1,
    "languages": 1,
    "http_rules": 0,
    "errors": 0,
    "version": 0,
}
ANY_TIME = {
    "lancedb",
    "numpy",
    "pyarrow",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "typing_extensions",
}
LIBRARIES = {
    "cache.shared": {"platformdirs"},
    "cli": {"typer", "rich"},
    "cli.autoload": {"typer"},
    "cli.benchmark": {"typer"},
    "cli.choose": {"typer"},
    "cli.errors": {"typer", "rich"},
    "cli.evaluate": {"typer"},
    "cli.expand": {"typer"},
    "cli.fine_tune": {"typer"},
    "cli.output": {"typer", "rich"},
    "cli.images": {"typer", "rich"},
    "cli.monitor": {"typer", "rich"},
    "cli.tables": {"typer"},
    "demo": {"rich"},
    "catalog": {"tomllib", "tomli"},
    "inputs.images.transport": {"httpcore"},  # imported where a picture is fetched
}


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, file


def imported(file: Path, top_level_only: bool) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "lancedb_embedders":
                yield from (f"lancedb_embedders.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_dependencies_point_one_way() -> None:
    wrong = []
    for name, file in modules():
        own = name.split(".")[0]
        for target in imported(file, top_level_only=False):
            if not target.startswith("lancedb_embedders."):
                continue
            other = target.split(".")[1]
            if other not in LAYERS:
                continue
            lower = LAYERS[other] < LAYERS[own]
            # No function imports another's file; only their list does.
            neighbour = other == own and (own != "functions" or name == "functions")
            if not (lower or neighbour):
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_every_module_has_a_layer() -> None:
    assert {name.split(".")[0] for name, _ in modules()} <= set(LAYERS)


def test_only_light_libraries_are_imported_at_the_top() -> None:
    for name, file in modules():
        allowed = ANY_TIME | set(sys.stdlib_module_names) | LIBRARIES.get(name, set())
        found = {target.split(".")[0] for target in imported(file, top_level_only=True)}
        assert found <= allowed | {"lancedb_embedders"}, name


def test_modules_stay_short() -> None:
    longest = max((len(file.read_text().splitlines()), name) for name, file in modules())
    assert longest[0] <= 320, longest


def test_the_import_is_lean(python: Callable[..., str]) -> None:
    code = """
import sys, json, lancedb
before = set(sys.modules)
import lancedb_embedders
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""
    heavy = {"torch", "transformers", "sentence_transformers", "openai", "cohere", "PIL", "scipy"}
    heavy |= {"httpx", "httpcore"}
    assert not heavy & set(json.loads(python(code)))


def test_create_loads_no_model(python: Callable[..., str]) -> None:
    code = """
import sys, lancedb_embedders
from lancedb.embeddings import get_registry
function = get_registry().get("sbert").create()
print(function.ndims(), repr(function), "torch" in sys.modules)
"""
    out = python(code)
    assert out.startswith("384 SbertEmbeddings(")
    assert out.rstrip().endswith("False")


def test_names_do_not_collide_with_lancedbs_own(python: Callable[..., str]) -> None:
    names = """
import json, lancedb.embeddings
print(json.dumps(list(lancedb.embeddings.get_registry()._functions)))
"""
    theirs = set(json.loads(python(names)))
    both = set(json.loads(python("import lancedb_embedders" + names)))
    ours = both - theirs
    assert "openai" in theirs
    assert "sbert" in ours
    assert not theirs & set(registered())
