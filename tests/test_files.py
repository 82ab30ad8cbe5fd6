from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vizsla.errors import StorageError
from vizsla.files import check_folder, replacing, storage, write_bytes, write_json


def test_the_old_content_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_is_said_in_words() -> None:
    with (
        pytest.raises(StorageError, match="The disk is full") as error,
        storage(Path("/dev/full")),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert "vizsla cache" in str(error.value)
    assert "what was finished is kept" in str(error.value)


def test_a_refusal_names_the_place_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write here") as error:
        write_bytes(tmp_path / "file" / "below", b"")
    assert error.value.where == str(tmp_path / "file" / "below")
    assert "VIZSLA_HOME" in str(error.value)
    assert isinstance(error.value.__cause__, OSError)
    assert error.value.__cause__.errno in (errno.ENOTDIR, errno.EEXIST)


def test_a_folder_is_made_only_where_that_is_asked(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        write_json(tmp_path / "removed" / ".run" / "note.json", {})
    assert not (tmp_path / "removed").exists()
    write_json(tmp_path / "cache" / "new" / "a.json", {}, make_folder=True)
    assert (tmp_path / "cache" / "new" / "a.json").is_file()


def test_what_stands_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    cases = {
        "file": f"'{tmp_path}/file' is a file, not a folder",
        "file/runs": f"'{tmp_path}/file' is a file, not a folder",
        "link": f"'{tmp_path}/link' is a link to 'nowhere', where nothing is",
        "link/runs/x": f"'{tmp_path}/link' is a link to 'nowhere', where nothing is",
    }
    for name, words in cases.items():
        with pytest.raises(StorageError) as checked:
            check_folder(tmp_path / name)
        with pytest.raises(StorageError) as written:
            write_bytes(tmp_path / name / "a.json", b"", make_folder=True)
        assert checked.value.what == written.value.what == f"Cannot write here: {words}."
        assert "VIZSLA_HOME for jobs" in str(checked.value.do)
    for name in ("", "new", "new/folder"):
        check_folder(tmp_path / name)
