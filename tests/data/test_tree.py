"""What is a picture in a folder, and what is passed over and counted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vizsla.data import open_dataset
from vizsla.data.tree import Tally, pictures, read_tree
from vizsla.settings import settings


def notes_of(root: Path) -> str:
    return " ".join(open_dataset(root).notes)


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir", "#recycle", "@Recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"),
        *(".thumbnails", ".ipynb_checkpoints", ".picasaoriginals", "Lightroom Previews.lrdata", "[Originals]"),
        *("__pycache__", "node_modules", "wandb", "mlruns", "lightning_logs", "MLRUNS"),
    ],
)
def test_folders_of_systems_and_tools_are_no_data(folder_of_photos, name):
    root = folder_of_photos()
    for place in (root, root / "red"):
        (place / name / "deeper").mkdir(parents=True)
        shutil.copy(root / "red/000.jpg", place / name / "deeper/thumb.jpg")
        shutil.copy(root / "red/000.jpg", place / name / "thumb.jpg")
    dataset = open_dataset(root)
    assert dataset.counts().sum(axis=1).tolist() == [20, 20]
    assert f"as systems and tools make such folders: 2 folders (2 {name})." in dataset.notes[0]


def test_a_folder_that_cannot_be_opened_but_is_the_systems(folder_of_photos):
    root = folder_of_photos()
    (root / "lost+found").mkdir(mode=0)
    assert len(open_dataset(root)) == 40


@pytest.mark.parametrize("marker", ["pyvenv.cfg", "conda-meta/history"])
def test_environments_are_known_by_what_lies_in_them(folder_of_photos, marker):
    root = folder_of_photos()
    shutil.copytree(root / "red", root / "my-env/lib/sample")
    (root / "my-env" / marker).parent.mkdir(exist_ok=True)
    (root / "my-env" / marker).touch()
    assert open_dataset(root).classes == ("green", "red")


def test_the_folder_of_jobs_is_no_class_wherever_it_lies(folder_of_photos, monkeypatch):
    root = folder_of_photos()
    for home in ("runs", "archive/2024 runs"):
        (root / home / "train-1/output").mkdir(parents=True)
        (root / home / "train-1/job.json").write_text("{}")
        shutil.copy(root / "red/000.jpg", root / home / "train-1/output/grid.jpg")
        (root / home / "datasets/photos-1/repaired").mkdir(parents=True)
        (root / home / "datasets/photos-1/.manifest.parquet.digest").touch()
        shutil.copy(root / "red/000.jpg", root / home / "datasets/photos-1/repaired/x.png")
    dataset = open_dataset(root)
    assert dataset.classes == ("green", "red")
    assert "No picture is inside" not in " ".join(dataset.notes)
    monkeypatch.chdir(root)
    monkeypatch.setenv("VIZSLA_HOME", "jobs")
    shutil.copytree(root / "red", root / "jobs/kept")
    assert open_dataset(".").classes == ("green", "red")


def test_a_data_set_inside_the_folder_of_jobs_is_read(folder_of_photos, monkeypatch):
    root = folder_of_photos()
    monkeypatch.setenv("VIZSLA_HOME", str(root))
    assert len(open_dataset(root)) == 40
    monkeypatch.setenv("VIZSLA_HOME", str(root.parent))
    assert len(open_dataset(root)) == 40
    assert settings().home == root.parent


def test_pictures_are_known_by_content_where_the_name_says_nothing(folder_of_photos, paint):
    root = folder_of_photos()
    (root / "red/000.jpg").rename(root / "red/000.jpg_large")
    (root / "red/001.jpg").rename(root / "red/0a1b2c")
    paint(5).save(root / "red/x.tmp", format="PNG")
    dataset = open_dataset(root)
    assert dataset.counts().sum(axis=1).tolist() == [20, 21]
    (note,) = [note for note in dataset.notes if "Read by their content" in note]
    assert note.startswith("Read by their content, whatever the ending of the name: 3 files (")
    for part in ("1 .jpg_large is JPEG", "1 no ending is JPEG", "1 .tmp is PNG"):
        assert part in note


def test_pictures_in_formats_that_are_not_read_are_listed_for_the_gate(folder_of_photos):
    root = folder_of_photos()
    (root / "red/shot.psd").write_bytes(b"8BPS" + bytes(90))
    (root / "red/shot.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90))
    (root / "red/drawing.bin").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert {"red/shot.psd", "red/shot.heic", "red/drawing.bin"} <= set(open_dataset(root).paths)


def test_what_is_no_picture_is_counted_by_ending(folder_of_photos):
    root = folder_of_photos()
    for name in ("a.txt", "b.txt", "Thumbs.db", "clip.mov", "README", ".DS_Store", "._000.jpg"):
        (root / "red" / name).write_bytes(b"\0\1\2")
    (root / "red/.old.jpg").write_bytes(b"x")
    (root / "labels.csv").write_text("x")
    (root / "red/gone.png2").symlink_to("nowhere")
    (root / "red/locked").touch(mode=0)
    notes = notes_of(root)
    assert "as they are no pictures: 8 files (2 no ending, 2 .txt, 1 .csv, 1 .db, 1 .mov, 1 .png2)." in notes
    assert "a name that begins with a dot hides a file: 1 picture (1 hidden)." in notes


def test_a_pipe_is_not_waited_for(folder_of_photos):
    root = folder_of_photos()
    os.mkfifo(root / "red/pipe")
    assert "no pictures: 1 file (1 no ending)" in notes_of(root)


def test_links_to_folders_are_followed_but_not_in_a_circle(folder_of_photos, tmp_path):
    store = folder_of_photos(name="store")
    root = tmp_path / "linked"
    (root / "rot").mkdir(parents=True)
    (root / "rot/more").symlink_to(store / "red")
    (root / "grün").symlink_to(store / "green")
    (store / "red/back").symlink_to(root)
    (store / "green/self").symlink_to(store / "green")
    top, _ = read_tree(root)
    assert {folder.label: folder.total for folder in top.folders} == {"rot": 20, "grün": 20}


def test_a_walk_that_keeps_no_names_finds_the_same(folder_of_photos):
    root = folder_of_photos()
    (root / "red" / "deeper").mkdir()
    shutil.copy(root / "red/000.jpg", root / "red/deeper/000.jpg")
    shutil.copy(root / "red/000.jpg", root / "top.jpg")
    (root / "red" / "notes.doc").write_text("no picture")
    (root / "loop").symlink_to(root)
    top, expected = read_tree(root)
    tally = Tally()
    found = list(pictures(root, tally))
    assert sorted(found) == sorted(top.walk())
    assert found[-1] == "top.jpg"
    assert tally == expected
