"""One unpacker and one packer for data, code and models: what is made, what is refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from vizsla.archives import Bounds, opened, pack, unpack
from vizsla.errors import SourceError


def tar_of(path: Path, *members: tuple[str, bytes, str | bytes]) -> Path:
    """An archive of (name, type, content or where a link leads)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_code_keeps_its_links_and_what_is_executable(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "a.tar.gz",
        (".", tarfile.DIRTYPE, ""),
        ("./v1", tarfile.DIRTYPE, ""),
        ("./v1/run.sh", tarfile.REGTYPE, b"#!/bin/sh\n"),
        ("./latest", tarfile.SYMTYPE, "v1"),
        ("./empty", tarfile.DIRTYPE, ""),
    )
    assert unpack(archive, tmp_path / "to", Bounds(), links=True) == 10
    assert os.access(tmp_path / "to" / "latest" / "run.sh", os.X_OK)
    assert (tmp_path / "to" / "latest").readlink() == Path("v1")
    assert (tmp_path / "to" / "empty").is_dir()


def test_code_may_come_as_a_zip_whatever_it_is_called(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.tar.gz", "w") as file:
        file.writestr("code/inference.py", "x = 1\n")
    unpack(tmp_path / "model.tar.gz", tmp_path / "to", Bounds(), links=True)
    assert (tmp_path / "to" / "code" / "inference.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("name", "kind", "content", "words"),
    [
        ("d/escaped", tarfile.REGTYPE, b"x", "wants to write outside its folder: 'd/escaped'"),
        ("d", tarfile.REGTYPE, b"x", "wants to write outside its folder: 'd'"),
        ("d/e", tarfile.SYMTYPE, "..", "wants to write outside its folder: 'd/e'"),
        ("e", tarfile.SYMTYPE, "../..", "would link to"),
        ("e", tarfile.SYMTYPE, "/etc/passwd", "is a link to an absolute path"),
        ("pipe", tarfile.FIFOTYPE, "", "is a special file"),
    ],
)
def test_nothing_is_written_through_a_link_or_leads_outside(
    tmp_path: Path, name: str, kind: bytes, content: str | bytes, words: str
) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", ("d", tarfile.SYMTYPE, "."), (name, kind, content))
    with pytest.raises(SourceError, match=words):
        unpack(archive, tmp_path / "to", Bounds(), links=True)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["d"]


def test_links_count_as_files(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", *((f"l{i}", tarfile.SYMTYPE, "x") for i in range(4)))
    with pytest.raises(SourceError, match="unpacks to more than is allowed") as caught:
        unpack(archive, tmp_path / "to", Bounds(files=3), links=True)
    assert caught.value.allowed == "at most 200 GB and 3 files"


def test_much_that_follows_the_end_is_damage(tmp_path: Path) -> None:
    """tarfile takes a damaged header for the archive's end: what follows it would vanish unseen."""
    content = bytes(17 << 20)
    archive = tar_of(tmp_path / "a.tar.gz", ("a", tarfile.REGTYPE, b"x"), ("b", tarfile.REGTYPE, content))
    whole = gzip.decompress(archive.read_bytes())
    damaged = tmp_path / "b.tar"
    damaged.write_bytes(whole[:1024] + b"?" * 512 + whole[1536:])
    with pytest.raises(SourceError, match=r"damaged or ends too early: .*something follows its end"):
        unpack(damaged, tmp_path / "to", Bounds())


def test_the_last_comes_last_and_a_failure_leaves_no_half(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    for name in ("backbone.onnx", "head", "code/x.py"):
        (folder / name).write_bytes(b"x")
    assert pack(folder, tmp_path / "out" / "m.tar.gz", last="backbone.onnx", reproducible=True) == []
    with opened(tmp_path / "out" / "m.tar.gz") as (members, count):
        assert ([m.name for m in members], count) == (["code", "code/x.py", "head", "backbone.onnx"], 0)
    os.mkfifo(folder / "pipe")
    assert pack(folder, tmp_path / "out" / "m.tar.gz", beside={"more": folder}) == ["pipe", "more/pipe"]
    with pytest.raises(OSError, match="nowhere"):
        pack(tmp_path / "nowhere", tmp_path / "out" / "n.tar.gz")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.tar.gz"]
