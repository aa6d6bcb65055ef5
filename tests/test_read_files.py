"""Files of rows and folders of texts, as batches for a table."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.tables.read_files import Source, read_files


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of what its name says, from rows or as it is."""

    def written(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=2)
            return path
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
        return path

    return written


def rows(source: Source) -> list[dict[str, Any]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def error(kind: type[Exception], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(kind) as raised:
        rows(read_files(*args, **kwargs))
    return str(raised.value)


ROWS = [{"id": 1, "text": "tea", "n": 1.5}, {"id": 2, "text": None, "n": None}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "A.NDJSON.GZ"])
def test_json_lines(write: Any, name: str) -> None:
    source = read_files([write(name, ROWS)])
    assert (source.key, source.text, source.rows, rows(source)) == ("id", "text", 2, ROWS)
    assert rows(source) == ROWS, "twice"


@pytest.mark.parametrize("name", ["a.parquet", "a.pq"])
def test_parquet_keeps_its_types(write: Any, name: str) -> None:
    ids = pa.array([b"0" * 16, b"1" * 16, b"2" * 16], pa.binary(16))
    texts = pa.array(["a", "b", None]).dictionary_encode()
    numbers = pa.array([1, 2, 3], pa.int8())
    table = pa.table({"id": ids, "text": texts, "n": numbers, "tags": [["x"], [], None]})
    source = read_files([write(name, table)])
    assert source.rows == 3
    assert source.schema.field("n").type == pa.int8()
    assert source.schema.field("text").type == pa.string(), "not of one dictionary in all batches"
    assert rows(source) == table.to_pylist()


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="a later pyarrow has a type for it")
def test_a_uuid_is_a_key(write: Any) -> None:
    key = UUID(int=7)
    table = pa.table({"k": pa.array([key.bytes], pa.uuid()), "text": ["a"]})
    assert rows(read_files([write("a.parquet", table)], key="k")) == [{"k": key, "text": "a"}]


@pytest.mark.parametrize(("name", "tab"), [("a.csv", ","), ("a.tsv.gz", "\t"), ("a.csv.gz", ",")])
def test_csv(write: Any, name: str, tab: str) -> None:
    content = '\ufeffid,text,n,day\n007,"1\n""2""",1,2020-01-02\n8,,2,\n'.replace(",", tab)
    assert rows(read_files([write(name, content)])) == [
        {"id": "007", "text": '1\n"2"', "n": 1, "day": date(2020, 1, 2)},
        {"id": "8", "text": "", "n": 2, "day": None},
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_types_are_those_of_all_rows_not_of_the_first_block(write: Any, name: str) -> None:
    many, pad = 60_000, "x" * 40
    if name == "a.csv":
        content = "id,text,a,b,c\n" + f"1,{pad},1,,3\n" * many + f"2,{pad},1.5,7,x\n"
        last = {"id": "2", "text": pad, "a": 1.5, "b": 7, "c": "x"}
    else:
        first = {"id": 1, "text": "2020-01-01", "a": 1, "b": None, "c": ["2020-01-01"]}
        last = {"id": 2, "text": pad, "a": 1.5, "b": {"x": 7}, "c": ["y"]}
        content = (json.dumps(first) + "\n") * many + json.dumps(last)
    source = read_files([write(name, content)], batch_rows=many)
    *_, end = source.batches()
    assert source.rows == many + 1
    assert end.to_pylist() == [last]


def test_json_types_that_have_nothing_in_common(write: Any) -> None:
    row = {"id": 1, "text": "x" * 1000}
    path = write("a.jsonl", [{**row, "a": 1}, *[row] * 2500, {**row, "a": "one"}])
    message = error(ConfigurationError, [path])
    assert f"column 'a' is int64 in {path}, rows 1 to " in message
    assert f"string in {path}, rows " in message
    path = write("a.jsonl", [{"id": 1, "a": 1}, {"id": 2, "a": "one"}])
    assert "row 2" in error(InputError, [path])


def test_files_of_different_columns_are_one_table(write: Any) -> None:
    files = [
        write("1.parquet", pa.table({"id": ["a"], "text": ["x"], "n": pa.array([1], pa.int32())})),
        write("2.jsonl", [{"text": "y", "id": "b", "more": {"u": 1}, "none": None}]),
        write("3.csv", "id,text,n\n3,z,0.5\n"),
    ]
    source = read_files(files)
    assert rows(source) == [
        {"id": "a", "text": "x", "n": 1.0, "more": None, "none": None},
        {"id": "b", "text": "y", "n": None, "more": {"u": 1}, "none": None},
        {"id": "3", "text": "z", "n": 0.5, "more": None, "none": None},
    ]
    assert source.schema.field("none").type == pa.string()
    other = write("4.jsonl", [{"id": "c", "text": "y", "n": "many"}])
    message = f"column 'n' is double in {files[2]} and string in {other};"
    assert message in error(ConfigurationError, [*files, other])


def test_batches_are_of_one_size_whatever_the_files(write: Any) -> None:
    texts = pa.table({"id": range(7), "text": ["x"] * 7})
    files = [write(f"{i}.parquet", texts) for i in range(3)]
    sizes = [batch.num_rows for batch in read_files(files, batch_rows=5).batches()]
    assert sizes == [5, 5, 5, 5, 1]
    assert [b.num_rows for b in read_files(files, batch_rows=7).batches()] == [7, 7, 7]
    assert [b.num_rows for b in read_files(files).batches()] == [21]
    assert list(read_files([write("none.csv", "id,text\n")]).batches()) == []


def test_a_folder_of_texts(write: Any, tmp_path: Path) -> None:
    write("docs/b/two.MD", "\ufeffZwei\r\n")
    write("docs/a.txt", "один")
    write("docs/b.markdown", "drei")
    write("docs/picture.png", b"\xff")
    write("docs/.hidden.md", "no")
    write("docs/.git/no.md", "no")
    (tmp_path / "docs/b/loop").symlink_to(tmp_path / "docs")
    source = read_files([tmp_path / "docs"], text="body")
    assert (source.key, source.text, source.rows) == ("path", "body", 3)
    assert rows(source) == [
        {"path": "a.txt", "body": "один"},
        {"path": "b/two.MD", "body": "Zwei\r\n"},
        {"path": "b.markdown", "body": "drei"},
    ]


def test_names_are_unique_and_the_same_from_anywhere(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x/docs/a.md", "y/docs/a.md", "y/docs/b.md", "c.md"):
        write(name, name)
    given = ["x/docs", "y/docs", "c.md", "x/docs/a.md"]
    expected = ["x/docs/a.md", "y/docs/a.md", "b.md", "c.md"]
    monkeypatch.chdir(tmp_path)
    assert [row["path"] for row in rows(read_files(given))] == expected
    monkeypatch.chdir(tmp_path / "x")
    found = rows(read_files([os.path.join("..", path) for path in given]))  # noqa: PTH118
    assert [row["path"] for row in found] == expected


def test_rows_without_a_key_column_are_named_after_their_file(write: Any, tmp_path: Path) -> None:
    write("d/1/a.csv", "text,n\n" + "x,1\n" * 3)
    write("d/2/a.jsonl", [{"text": "y"}])
    write("e/2/a.jsonl", [{"text": "z"}])
    source = read_files([tmp_path / "d", tmp_path / "e"], batch_rows=2)
    assert source.key == "source"
    keys = ["1/a.csv#1", "1/a.csv#2", "1/a.csv#3", "d/2/a.jsonl#1", "e/2/a.jsonl#1"]
    assert [row["source"] for row in rows(source)] == keys
    path = write("a.jsonl", [{"text": "x", "source": "web"}])
    assert "name the column that is the key, of: text, source" in error(ConfigurationError, [path])
    assert read_files([path], key="source").key == "source"


def test_patterns_and_a_single_path(write: Any, tmp_path: Path) -> None:
    write("a/b/1.csv", "id,text\n1,x\n")
    write("a/2.csv", "id,text\n2,y\n")
    assert [r["id"] for r in rows(read_files([f"{tmp_path}/**/*.csv"]))] == ["2", "1"]
    assert read_files(str(tmp_path / "a")).rows == 2
    odd = write("odd[1].csv", "id,text\n3,z\n")
    assert rows(read_files([odd])) == [{"id": "3", "text": "z"}]


def test_columns_that_are_not_there_or_of_no_use(write: Any) -> None:
    path = write("a.jsonl", [{"id": 1, "body": "x", "n": 1, "f": 0.5, "l": [1]}])
    assert "no column 'text' for the text; it has: id, body" in error(ConfigurationError, [path])
    assert "no column 'k' for the key; it has: id" in error(ConfigurationError, [path], "body", "k")
    assert error(InputError, [path], "n") == f"{path}: column 'n' is int64, which cannot be a text"
    for key, kind in (("f", "double"), ("l", "list<item: int64>")):
        assert f"'{key}' is {kind}" in error(InputError, [path], "body", key)
    text = write("a.md", "x")
    assert "it has: path, text" in error(ConfigurationError, [text], key="id")
    assert "name another" in error(ConfigurationError, [text], text="path")
    assert f"{text} is a text and {path} a file" in error(ConfigurationError, [path, text])


def test_a_row_without_a_key(write: Any) -> None:
    table = pa.table({"id": [*range(1200), None], "text": ["x"] * 1201})
    lines = "id,text\n" + "1,x\n" * 1200 + ",x\n"
    contents = {"a.jsonl": table.to_pylist(), "a.csv": lines, "a.parquet": table}
    for path in (write(*content) for content in contents.items()):
        assert error(InputError, [path]) == f"{path}, row 1201: the key 'id' is empty"


LINES = '{"id": 1, "text": "x"}\n' * 3


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.jsonl", LINES + '{"id": 2, "text" "x"}\n', "Missing a colon after a name of object"),
        ("a.jsonl", LINES + "[1]\n", "row 4"),
        ("a.jsonl", LINES.encode() + b'{"id": 2, "text": "\xff"}\n', "not UTF-8: byte 88 is 0xff"),
        ("a.csv", "id,text\n1,x\n2\n", "Row 2: Expected 2 columns, got 1: 2"),
        ("a.csv", b"id,text\n1,\xff\n", "Row 1: CSV conversion error to string: invalid UTF8"),
        ("a.csv", "id,text,id\n1,x,2\n", "several columns 'id'"),
        ("a.csv", "id,text\n1," + "x" * (5 << 20), "a row is longer than 2 MiB"),
        ("a.parquet", b"PAR1 it is not", "cannot be read"),
        ("a.md", b"caf\xe9", "not UTF-8: byte 3 is 0xe9"),
        ("a.md", b"\xef\xbb\xbf\xe9", "not UTF-8: byte 3 is 0xe9"),
        ("a.md", "", "is empty"),
    ],
)
def test_a_file_that_is_damaged(write: Any, name: str, content: Any, found: str) -> None:
    path = write(name, content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{re.escape(found)}"):
        read_files([path])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_gzip_that_is_damaged(write: Any, suffix: str) -> None:
    path = write(f"a.{suffix}.gz", os.urandom(100_000).hex())
    path.write_bytes(path.read_bytes()[:-1000])
    assert str(path) in error(InputError, [path])
    path.write_bytes(b"id,text\n1,x\n")
    assert f"{path} cannot be read: " in error(InputError, [path])


def test_parquet_that_is_damaged_further_in(write: Any) -> None:
    path = write("a.parquet", pa.table({"id": range(1000), "text": ["x"] * 1000}))
    content = bytearray(path.read_bytes())
    content[4:4000] = os.urandom(3996)
    path.write_bytes(content)
    assert f"{path} cannot be read: " in error(InputError, [path])


def test_paths_where_nothing_is(write: Any, tmp_path: Path) -> None:
    path = write("a.pdf", "x")
    assert ".parquet, .pq, .jsonl" in error(ConfigurationError, [path])
    (tmp_path / "empty").mkdir()
    assert "nothing to read in" in error(ConfigurationError, [tmp_path / "empty"])
    for missing in (tmp_path / "no.csv", f"{tmp_path}/*.csv"):
        assert str(missing) in error(ConfigurationError, [missing])
    assert "only local files" in error(ConfigurationError, ["s3://bucket/a.csv"])
    assert "no files were given" in error(ConfigurationError, [])
    with suppress(OSError):  # not all file systems take such a name
        name = write(os.fsdecode(b"caf\xe9.md"), "x")
        assert "cannot be read" in error(InputError, [name])


MEMORY = """
import sys
from lancedb_embedders.tables.read_files import read_files
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) // 1024
before = peak()
for path in sys.argv[1:]:
    print(sum(batch.num_rows for batch in read_files([path]).batches()))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of memory is told")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, python: Any) -> None:
    many, text = 400_000, "x" * 250
    files = [tmp_path / name for name in ("a.jsonl", "a.csv", "a.parquet")]
    files[0].write_text(f'{{"id": 1, "text": "{text}"}}\n' * many)
    files[1].write_text("id,text\n" + f"1,{text}\n" * many)
    table = pa.table({"id": range(many), "text": [text] * many})
    pq.write_table(table, files[2], row_group_size=20_000, use_dictionary=False)
    *counts, grown = map(int, python(MEMORY, *map(str, files)).split())
    assert counts == [many] * 3
    assert grown < 190, "MiB, of 300 in all"
