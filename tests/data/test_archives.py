"""Archives are unpacked once, within bounds, and never outside."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from vizsla.data import list_source, open_dataset
from vizsla.data.archives import Bounds, unpack
from vizsla.errors import SourceError


@pytest.fixture
def photos(folder_of_photos) -> Path:
    return folder_of_photos({"red": 12, "green": 12})


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_an_archive_reads_like_its_folder(photos, tmp_path, form):
    archive = shutil.make_archive(str(tmp_path / "flowers"), form, photos.parent, photos.name)
    dataset = open_dataset(archive)
    assert dataset.name == "flowers"
    assert dataset.classes == ("green", "red")
    assert len(dataset) == 24
    assert dataset.path(0).read_bytes() == (photos / dataset.paths[0]).read_bytes()


@pytest.mark.parametrize(
    ("form", "made", "called"),
    [
        ("zip", "a.zip", "a.tar.gz"),
        ("zip", "a.zip", "a.tar"),
        ("gztar", "a.tar.gz", "a.zip"),
        ("tar", "a.tar", "a.tgz"),
    ],
)
def test_an_archive_is_known_by_its_content_and_not_by_its_name(photos, tmp_path, form, made, called):
    shutil.make_archive(str(tmp_path / "a"), form, photos)
    (tmp_path / made).rename(tmp_path / called)
    assert len(open_dataset(tmp_path / called)) == 24


def test_it_is_unpacked_once(photos, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", photos))
    first = unpack(archive, tmp_path / "cache")
    stamp = (first / "red" / "000.jpg").stat().st_mtime_ns
    assert unpack(archive, tmp_path / "cache") == first
    assert (first / "red" / "000.jpg").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["../evil.jpg", "/tmp/evil.jpg", "a/../../evil.jpg", "..\\evil.jpg", "C:/evil.jpg"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_path_outside(tmp_path, name, kind):
    archive = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("red/fine.jpg", b"x")
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, b"x")
    else:
        with tarfile.open(archive, "w") as tar:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(SourceError, match="wants to write outside its folder") as caught:
        unpack(archive, tmp_path / "cache")
    assert "evil" in caught.value.what
    assert not list(tmp_path.rglob("*evil.jpg"))
    assert not list((tmp_path / "cache").rglob("*.jpg"))


def test_links_are_passed_over(tmp_path):
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("red/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        hard = tarfile.TarInfo("red/hard.jpg")
        hard.type, hard.linkname = tarfile.LNKTYPE, "red/link.jpg"
        tar.addfile(hard)
        real = tarfile.TarInfo("red/real.jpg")
        real.size = 3
        tar.addfile(real, io.BytesIO(b"abc"))
    folder = unpack(archive, tmp_path / "cache")
    assert [path.name for path in folder.rglob("*.jpg")] == ["real.jpg"]


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_a_truncated_archive(photos, tmp_path, form):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), form, photos))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(SourceError, match="damaged or ends too early") as caught:
        open_dataset(archive)
    assert archive.name in caught.value.where
    assert "again" in caught.value.do


def test_a_flipped_byte_in_a_zip(photos, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", photos))
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(SourceError, match="damaged or ends too early"):
        open_dataset(archive)


@pytest.mark.parametrize("bounds", [Bounds(bytes=1000), Bounds(files=3)])
def test_bounds(photos, tmp_path, bounds):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", photos))
    with pytest.raises(SourceError, match="unpacks to more than is allowed"):
        unpack(archive, tmp_path / "cache", bounds)
    assert not list((tmp_path / "cache").rglob("*.jpg"))


def test_nothing_that_lies_in_the_folder_vanishes_in_its_archive(photos, tmp_path):
    (photos / "red/000.jpg").rename(photos / "red/0a1b2c")
    (photos / "red/shot.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90))
    (photos / "red/clip.mov").write_bytes(bytes(9))
    (photos / "stray.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    of_folder, of_archive = (
        list_source(source) for source in (photos, shutil.make_archive(str(tmp_path / "a"), "zip", photos))
    )
    assert of_archive.paths == of_folder.paths
    assert {"red/0a1b2c", "red/shot.heic"} <= set(of_archive.paths)
    assert of_archive.notes == of_folder.notes
    assert [finding.id for finding in of_archive.findings] == ["stray-pictures"]


def test_an_archive_without_pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", "x")
    with pytest.raises(SourceError, match="holds no pictures"):
        open_dataset(tmp_path / "a.zip")


def test_names_with_a_time_of_day_are_no_drives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("12:30/a.jpg", b"x")
        file.writestr("13:00/b.jpg", b"x")
    folder = unpack(tmp_path / "a.zip", tmp_path / "cache")
    assert {path.parent.name for path in folder.rglob("*.jpg")} == {"12:30", "13:00"}


def test_what_macos_puts_beside_each_file_is_not_counted(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for label in "ab":
            file.writestr(f"{label}/x.jpg", b"x")
            file.writestr(f"__MACOSX/{label}/._x.jpg", b"x")
    folder = unpack(tmp_path / "a.zip", tmp_path / "cache", Bounds(files=2))
    assert len(list(folder.rglob("*.jpg"))) == 2


@pytest.mark.parametrize("name", ["a/x.jpg/y.jpg", "a/" + "n" * 300 + ".jpg"])
def test_a_name_that_no_file_can_have_is_the_fault_of_the_archive(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/x.jpg", b"x")
        file.writestr(name, b"x")
    with pytest.raises(SourceError, match="has a member that cannot be a file") as caught:
        unpack(tmp_path / "a.zip", tmp_path / "cache")
    assert caught.value.where.endswith("a.zip")
