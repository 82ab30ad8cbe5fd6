"""The command as it is typed: its output and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commandline
import pytest

from vizsla import __version__
from vizsla.cli.main import VERBS
from vizsla.data.layouts import FOLDERS, LAYOUTS
from vizsla.workflow.fit import _Fit

Folder = Callable[..., Path]


def vizsla(*arguments: object, code: int = 0, **given: Any) -> subprocess.CompletedProcess[str]:
    """Run the command and check its exit code."""
    result = commandline.vizsla(*arguments, **given)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def model(write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a fit, for tests that only read it."""
    root = tmp_path_factory.mktemp("fitted")
    words = ("fit", write_photos(root / "photos"), "--backbone", "test_resnet", "--random-init", "--json")
    done = vizsla(*words, VIZSLA_HOME=str(root / "runs"))
    return Path(json.loads(done.stdout.splitlines()[-1])["model"])


def test_a_process_of_its_own(model: Path, folder_of_photos: Folder, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("words")
    photo = next(folder_of_photos().rglob("*.jpg"))
    done = commandline.process("predict", model, "-", "--json", text=f"{photo}\n{tmp_path / 'bad.jpg'}\n")
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [str(photo), str(tmp_path / "bad.jpg")]
    assert done.returncode == 1
    assert "it looks like text" in done.stderr
    refused = commandline.process("fit", "/nowhere")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "vizsla: There is no such folder.\n  where: /nowhere\n" in refused.stderr


def test_help_lists_every_verb() -> None:
    text = vizsla("--help").stdout
    for verb, line in VERBS.items():
        assert verb in text
        assert line[:30] in text


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb: str) -> None:
    assert "Usage: vizsla" in vizsla(verb, "--help").stdout


def test_version() -> None:
    assert commandline.process("--version").stdout == f"vizsla {__version__}\n"


def test_fit_prints_one_json_object_as_its_last_line(folder_of_photos: Folder) -> None:
    done = vizsla("fit", folder_of_photos(), "--backbone", "test_resnet", "--random-init", "--seed", 0, "--json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) >= {"model", "report", "metrics", "seconds", "images_per_second", "damaged"}
    metrics = result["metrics"]
    assert set(metrics) >= {"accuracy", "accuracy_interval", "macro_f1", "top5", "loss", "ece"}
    low, high = metrics["accuracy_interval"]
    assert 0 <= low <= metrics["accuracy"] <= high <= 1
    assert Path(result["model"], "model.json").is_file()
    assert Path(result["report"]).is_file()
    assert result["damaged"] == []
    assert all(seconds >= 0 for seconds in result["seconds"].values())


def test_fit_shows_a_summary_and_what_to_type_next(folder_of_photos: Folder) -> None:
    done = vizsla("fit", folder_of_photos(), "--backbone", "test_resnet", "--random-init")
    for words in ("accuracy", "macro F1", "95 % interval", "report"):
        assert words in done.stdout
    assert "untrained" in done.stderr
    next_lines = [line for line in done.stderr.splitlines() if line.startswith("next")]
    assert "vizsla predict" in next_lines[0]
    typed = next_lines[0].split("vizsla ")[1].split()
    photo = next(Path(folder_of_photos(name="others")).rglob("*.jpg"))
    assert "%" in vizsla(*typed[:2], photo).stdout


def test_a_dry_run_makes_no_job(folder_of_photos: Folder, tmp_path: Path) -> None:
    data = folder_of_photos()
    done = vizsla("fit", data, "--backbone", "test_resnet", "--random-init", "--dry-run", "--json")
    planned = json.loads(done.stdout.splitlines()[-1])
    assert planned["images"] == 40
    assert planned["expected_seconds"] > 0
    assert "What would be done" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "/nowhere"], 1, ["There is no such folder", "/nowhere", "allowed:"]),
        (["fit", "{data}", "--lr", "0"], 2, ["lr=0.0 cannot be used", "a number above 0"]),
        (["fit", "{data}", "--optimizer", "lion"], 2, ["optimizer='lion'", "sgd, adam or adamw"]),
        (["fit", "{data}", "--minutes", "0"], 2, ["minutes=0.0 leaves no time"]),
        (["fit", "{data}", "--weights", "/nowhere"], 1, ["The weights do not exist", "--random-init"]),
        (["fit", "{data}", "--random-init", "--name", "a b"], 1, ["'a b' cannot be the name of a job", "hyphens"]),
        (["predict", "/nowhere", "a.jpg"], 1, ["There is no model here", "vizsla fit DATA"]),
    ],
)
def test_errors_are_words_and_no_traceback(
    arguments: list[str], code: int, words: list[str], folder_of_photos: Folder
) -> None:
    data = str(folder_of_photos())
    done = vizsla(*[a.replace("{data}", data) for a in arguments], code=code)
    assert done.stderr.startswith("vizsla: ") or "\nvizsla: " in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_setting_that_is_no_number_names_the_variable(folder_of_photos: Folder) -> None:
    done = vizsla("fit", folder_of_photos(), "--random-init", code=2, VIZSLA_CACHE_GB="much")
    assert "VIZSLA_CACHE_GB='much' is not a usable number" in done.stderr


def test_a_home_that_is_not_there() -> None:
    done = vizsla("jobs", "list", code=2, VIZSLA_CACHE="~nobody-of-this-name/cache")
    assert "The folder '~nobody-of-this-name/cache' cannot be found" in done.stderr
    assert "set VIZSLA_CACHE to a folder" in done.stderr


def test_predict_in_words_and_as_json(model: Path, folder_of_photos: Folder) -> None:
    photos = sorted(folder_of_photos(name="others").rglob("*.jpg"))[:3]
    plain = vizsla("predict", model, *photos, "--top-k", 2).stdout.splitlines()
    assert [line.split("   ")[0] for line in plain] == [str(p) for p in photos]
    answers = [json.loads(line) for line in vizsla("predict", model, *photos, "--json").stdout.splitlines()]
    for photo, answer in zip(photos, answers, strict=True):
        assert answer["image"] == str(photo)
        assert answer["label"] == answer["top"][0]["label"]
        assert answer["probability"] == pytest.approx(answer["top"][0]["probability"], abs=1e-6)
    listed = vizsla("predict", model, "-", "--json", text="\n".join(map(str, photos)) + "\n").stdout
    assert [json.loads(line) for line in listed.splitlines()] == answers


def test_predict_takes_a_folder(model: Path, folder_of_photos: Folder, tmp_path: Path) -> None:
    folder = folder_of_photos({"red": 2, "green": 3}, name="others")
    (folder / "sample_submission.csv").write_text("id,label\n")
    plain = vizsla("predict", model, folder).stdout.splitlines()
    photos = sorted(folder.rglob("*.jpg"))
    assert [line.split("   ")[0] for line in plain] == [str(photo) for photo in photos]
    (tmp_path / "none").mkdir()
    assert "There is no picture in this folder" in vizsla("predict", model, tmp_path / "none", code=1).stderr


def test_check_begins_with_the_layout_and_help_names_them_all(folder_of_photos: Folder) -> None:
    photos = folder_of_photos({"a": 12, "b": 12})
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.jpg"))]
    (photos / "train.csv").write_text("file;sort\n" + "\n".join(f"{name};{name[0]}{name[0]}" for name in names))
    refused = vizsla("check", photos / "train.csv", code=1).stderr
    assert "no column 'label'; its columns are file, sort" in refused
    assert "say which of them it is with --label-column, or add" in refused
    done = vizsla("check", photos, "--layout", "kaggle", "--label-column", "sort", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["layout"].startswith("Kaggle: train.csv (file, sort)")
    lines = vizsla("check", photos, "--layout", "kaggle", "--label-column", "sort").stdout.splitlines()
    assert lines[0] == "Kaggle: train.csv (file, sort) with pictures in a/, b/; 24 pictures of 2 classes"
    told = " ".join(vizsla("check", "--help", COLUMNS="200").stdout.replace("│", " ").split())
    assert ", ".join([FOLDERS, *LAYOUTS]) in told


def test_predict_names_what_it_cannot_read_and_goes_on(model: Path, folder_of_photos: Folder, tmp_path: Path) -> None:
    photo = next(folder_of_photos(name="others").rglob("*.jpg"))
    (tmp_path / "bad.jpg").write_text("words")
    done = vizsla("predict", model, tmp_path / "bad.jpg", photo, "--json", code=1)
    bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert bad["error"]["kind"] == "not-an-image"
    assert good["label"] in ("red", "green")
    assert "bad.jpg" in done.stderr
    assert "it looks like text" in done.stderr


def half_gray(photo: Path, target: Path) -> Path:
    """Data that decodes to a picture, the lower half of which is gray."""
    data = bytearray(photo.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd4" + bytes(38)
    target.write_bytes(data)
    return target


def test_predict_says_which_picture_is_partly_broken(model: Path, folder_of_photos: Folder, tmp_path: Path) -> None:
    photo = next(folder_of_photos(name="others").rglob("*.jpg"))
    broken = half_gray(photo, tmp_path / "half.jpg")
    done = vizsla("predict", model, broken, photo, "--json")
    bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert bad["label"] in ("red", "green")
    assert bad["warnings"][0]["kind"] == "corrupt-data"
    assert "Corrupt JPEG data" in bad["warnings"][0]["what"]
    assert "warnings" not in good
    assert "vizsla: warning: Part of the picture's data is broken" in done.stderr
    assert f"where: {broken}" in done.stderr
    strict = vizsla("predict", model, broken, photo, "--strict-images", "--json", code=1)
    assert json.loads(strict.stdout.splitlines()[0])["error"]["kind"] == "corrupt-data"


@pytest.mark.parametrize("count", [1, 2])
def test_predict_names_the_file_that_is_empty(model: Path, tmp_path: Path, count: int) -> None:
    (tmp_path / "zero.jpg").touch()
    done = vizsla("predict", model, *[tmp_path / "zero.jpg"] * count, code=1)
    assert done.stderr.count(f"The file is empty (0 bytes).\n  where: {tmp_path / 'zero.jpg'}") == count


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_predict_reads_lists_that_were_made_on_windows(
    model: Path, folder_of_photos: Folder, tmp_path: Path, coding: str
) -> None:
    photos = sorted(folder_of_photos(name="größer").rglob("*.jpg"))[:3]
    data = ("\r\n".join(map(str, photos)) + "\r\n\r\n").encode(coding)
    done = vizsla("predict", model, "-", "--json", text=data)
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == list(map(str, photos))


def test_predict_imports_no_torch(model: Path, folder_of_photos: Folder) -> None:
    photo = next(folder_of_photos(name="others").rglob("*.jpg"))
    code = (
        "import sys; sys.argv = ['vizsla', 'predict', sys.argv[1], sys.argv[2]]\n"
        "from vizsla.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(photo)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_cache_shows_bounds_and_clears(model: Path, tmp_path: Path) -> None:
    shown, told = vizsla("cache"), vizsla("cache", "--json")
    assert ("test_resnet" in shown.stdout, shown.stderr) == (True, "")
    assert ("test_resnet" in told.stderr, len(told.stdout.splitlines())) == (True, 1)
    other = {"VIZSLA_CACHE": str(tmp_path / "cache")}
    vizsla("cache", **other)


@pytest.mark.parametrize("place", ["file", "link"])
@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("VIZSLA_HOME", ["check", "photos"]),
        ("VIZSLA_HOME", ["fit", "photos", "--random-init"]),
        ("VIZSLA_HOME", ["train", "--script", "s.py"]),
        ("VIZSLA_HOME", ["tune", "photos", "x=1..3", "--script", "s.py", "--metric", "a=(.)"]),
        ("VIZSLA_HOME", ["jobs", "list"]),
        ("VIZSLA_CACHE", ["check", "photos"]),
        ("VIZSLA_CACHE", ["cache"]),
    ],
)
def test_a_file_in_the_place_of_a_folder_of_ours(
    place: str,
    variable: str,
    words: list[str],
    tmp_path: Path,
    folder_of_photos: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_photos({"red": 6, "green": 6})
    (tmp_path / "s.py").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    monkeypatch.setenv(variable, place)
    done = vizsla(*words, code=1)
    assert "Traceback" not in done.stderr
    said = "is a file, not a folder" if place == "file" else "is a link to 'nowhere', where nothing is"
    assert f"{place}' {said}" in done.stderr
    assert variable in done.stderr


def test_ctrl_c_says_how_the_job_goes_on(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(fit: _Fit) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Fit, "run", pressed)
    words = ("fit", folder_of_photos(), "--backbone", "test_resnet", "--random-init", "--name", "mine")
    done = vizsla(*words, code=130)
    assert "vizsla: Job 'mine' was stopped: interrupted from the keyboard." in done.stderr
    assert "`vizsla jobs resume mine` goes on with it" in done.stderr
    assert json.loads((tmp_path / "runs" / "mine" / "state.json").read_text())["status"] == "Stopped"
