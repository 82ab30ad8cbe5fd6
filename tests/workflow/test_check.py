"""``vizsla check`` from the source to the page: suspected label errors, files, the command, a real browser."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import KINDS, clean
from typer.testing import CliRunner

from vizsla.cli.main import app
from vizsla.data import SPLITS
from vizsla.errors import DataError
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import COMMAND, speaking
from vizsla.training.table import FeatureTable
from vizsla.workflow.check import CheckRequest, check
from vizsla.workflow.fit import fit
from vizsla.workflow.gate import DataRequest, read_data
from vizsla.workflow.request import FitRequest
from vizsla.workflow.suspect_labels import out_of_fold

pytest.importorskip("cleanvision")
pytest.importorskip("cleanlab")


@pytest.fixture
def three_kinds(dogs: Path, flowers: Path, tmp_path: Path) -> Path:
    """60 photos each of classes that nobody confuses: a daisy, a terrier and a samoyed."""
    root = tmp_path / "three"
    sources = {"daisy": flowers} | {folder.name: dogs for folder in _breeds(dogs)}
    for label, source in sources.items():
        for split, count in (("train", 40), ("valid", 10), ("test", 10)):
            (root / split / label).mkdir(parents=True)
            for file in sorted((source / split / label).glob("*.jp*g"))[:count]:
                shutil.copy(file, root / split / label / file.name)
    return root


def _breeds(dogs: Path) -> list[Path]:
    return [next((dogs / "train").glob(f"*{name}*")) for name in ("Australian_terrier", "Samoyed")]


@pytest.mark.slow
def test_wrong_labels_are_found_and_little_else(three_kinds: Path, dogs: Path, flowers: Path, mobilenet_weights: Path):
    weights = BackboneSpec.resolve(None, mobilenet_weights)
    request = CheckRequest(DataRequest(str(three_kinds)), weights)
    assert "label-errors" not in {finding.id for finding in check(request).findings}
    terrier = _breeds(dogs)[0].name
    wrong = []
    daisies = sorted((flowers / "train/daisy").glob("*.jpg"))
    for i, file in enumerate([daisies[100], daisies[101], daisies[103], daisies[104]]):  # 102 shows mostly flagstones
        wrong.append(f"train/{terrier}/planted{i}.jpg")
        shutil.copy(file, three_kinds / wrong[-1])
    for i, file in enumerate(sorted((dogs / "train" / terrier).glob("*.jp*g"))[101:104]):
        wrong.append(f"{('valid', 'test', 'train')[i]}/daisy/planted{i}.jpg")
        shutil.copy(file, three_kinds / wrong[-1])
    (finding,) = [finding for finding in check(request).findings if finding.id == "label-errors"]
    told = {file.path for file in finding.files}
    # Of 180 right labels one is doubted, by which folds the daisies among the terriers happen to lie in.
    assert len(told - set(wrong)) <= 1
    assert len(told) >= len(wrong) - 1  # confident learning spares the odd one that the heads are less sure of
    assert all("looks like" in file.detail for file in finding.files)


def test_each_probability_comes_from_heads_that_have_not_seen_the_label():
    # Features that name the picture and nothing else: a head knows a label only if it was trained on it.
    n = 90
    features = FeatureTable.of(np.eye(n, dtype=np.float32) * 10)
    labels = (np.arange(n) % 3).astype(np.int32)
    splits = np.array([SPLITS.index("test") if i % 10 == 9 else i % 2 for i in range(n)], np.int8)
    rows = np.arange(n)
    probabilities = out_of_fold(features, labels, splits, rows, 3, 0)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    believed = probabilities[rows, labels]
    assert believed.max() < 0.5


def test_pictures_of_one_group_never_vouch_for_one_another():
    # Each label is known from the group alone: a head that has seen another picture of it believes the label.
    n, rng = 120, np.random.default_rng(0)
    groups = (np.arange(n) // 4).astype(np.int32)
    features = FeatureTable.of(np.eye(30, dtype=np.float32)[groups] * 10)
    labels = rng.permutation(np.arange(30) % 3)[groups].astype(np.int32)
    splits, rows = np.zeros(n, np.int8), np.arange(n)
    together = out_of_fold(features, labels, splits, rows, 3, 0, groups)
    assert (together.argmax(axis=1) == labels).mean() < 0.6
    apart = out_of_fold(features, labels, splits, rows, 3, 0)
    assert (apart.argmax(axis=1) == labels).mean() > 0.9


def test_classes_too_small_for_label_errors_are_left_out_and_told(folder_of_photos):
    counts = {"train": {"a": 3, "b": 30, "c": 30}, "valid": {"a": 1, "b": 4, "c": 4}, "test": {"a": 1, "b": 4, "c": 4}}
    root = folder_of_photos(splits=counts)
    weights = BackboneSpec.resolve("test_resnet", random_init=True)
    result = check(CheckRequest(DataRequest(str(root)), weights))
    (note,) = [note for note in result.notes if "Label errors" in note]
    assert "fewer than 5 different pictures in train and valid: 'a' (4)." in note
    assert all(file.label != "a" for f in result.findings if f.id == "label-errors" for file in f.files)
    assert result.report.is_file()
    assert "(4)." in result.report.read_text("utf-8")
    for folder in root.glob("*/c"):
        shutil.rmtree(folder)
    assert "label-errors" not in {f.id for f in check(CheckRequest(DataRequest(str(root)), weights)).findings}


def test_cleanlab_is_asked_for_before_the_pictures(folder_of_photos, monkeypatch):
    from vizsla.errors import MissingExtraError
    from vizsla.settings import settings

    monkeypatch.delitem(sys.modules, "cleanlab.filter", raising=False)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    weights = BackboneSpec.resolve("test_resnet", random_init=True)
    with pytest.raises(MissingExtraError, match="Looking for label errors needs the package 'cleanlab"):
        check(CheckRequest(DataRequest(str(folder_of_photos())), weights))
    assert not (settings().home / "datasets").exists()


def test_without_cleanvision_a_note_says_what_was_not_looked_for(folder_of_photos, monkeypatch):
    root = str(folder_of_photos())
    assert "were not looked for" not in " ".join(check(CheckRequest(DataRequest(root))).notes)
    monkeypatch.setitem(sys.modules, "cleanvision", None)
    result = CliRunner().invoke(app, ["check", root, "--json"])
    (note,) = [note for note in json.loads(result.stdout.splitlines()[-1])["notes"] if "were not looked for" in note]
    assert note.startswith("Dark, bright, blurry and empty pictures")
    assert "vizsla[check]" in note
    assert "vizsla[check]" in result.stderr.replace("\n", "")


@pytest.fixture(scope="module")
def planted_run(flowers: Path, tmp_path_factory: pytest.TempPathFactory):
    """Photos with things wrong with them, and what the command says of them."""
    place = tmp_path_factory.mktemp("planted")
    planted = clean(flowers, place / "my flowers & co")
    for name in ("truncated", "leak_near", "two_labels", "dark", "copies_exact", "not_an_image"):
        KINDS[name](planted, flowers)
    result = CliRunner().invoke(app, ["check", str(planted.root), "--json"], env={"VIZSLA_HOME": str(place / "runs")})
    assert result.exit_code == 0, result.output
    return planted, result


def test_the_command_tells_and_writes_it_all(planted_run):
    planted, result = planted_run
    told = json.loads(result.stdout.splitlines()[-1])
    assert {finding["id"] for finding in told["findings"]} == set(planted.expected)
    assert told["pictures"] - told["usable"] == 3  # one truncated, one web page, one leak
    lines = [json.loads(line) for line in Path(told["findings_file"]).read_text("utf-8").splitlines()]
    assert {line["id"]: {file["path"] for file in line["files"]} for line in lines} == planted.expected
    assert all(line[key] for line in lines for key in ("severity", "title", "evidence", "fix"))
    assert "leak-near" in result.stderr
    assert "manifest.parquet" in result.stderr
    page = Path(told["report"]).read_text("utf-8")
    assert "my flowers &amp; co" in page


def test_options_that_cannot_be_meant(folder_of_photos):
    root = str(folder_of_photos())
    for arguments, words in (
        (["--on-leak", "ignore"], "--on-leak 'ignore' is not known"),
        (["--near-copies", "much"], "--near-copies 'much' is not known"),
        (["--weights", "x"], "go with --label-errors"),
        (["--drop-class", "cat"], "no class 'cat' to drop"),
        (["--group-by", "["], "is broken"),
    ):
        with speaking(COMMAND):
            result = CliRunner().invoke(app, ["check", root, *arguments])
        assert result.exit_code != 0
        assert words in str(result.exception)


@pytest.mark.browser
def test_the_page_in_a_browser(planted_run, browser):
    planted, result = planted_run
    report = json.loads(result.stdout.splitlines()[-1])["report"]
    page = browser.new_page(viewport={"width": 480, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(Path(report).as_uri())
    assert page.title() == "Check of my flowers & co"
    assert page.locator("li").first.inner_text().startswith("Class folders; ")
    for finding in planted.expected:
        page.click(f'a[href="#{finding}"]')
        assert page.locator(f"section#{finding}").is_visible()
    shown = page.locator("figure img")
    assert shown.count() == 7  # two a pair of three, one dark; what cannot be read has no picture
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= 480")
    assert said == []
    page.close()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)


def run_check(*arguments: object):
    with speaking(COMMAND):
        result = CliRunner().invoke(app, ["check", *map(str, arguments), "--json"], env={"COLUMNS": "500"})
    assert not isinstance(result.exception, Exception), result.output
    return result, json.loads(result.stdout.splitlines()[-1])


def finding_in(told: dict, name: str) -> dict:
    lines = Path(told["findings_file"]).read_text("utf-8").splitlines()
    (finding,) = [finding for finding in map(json.loads, lines) if finding["id"] == name]
    return finding


@pytest.fixture
def without_heif():
    from vizsla.images import formats

    if "HEIF" in formats.readable_formats():
        pytest.skip("needs an environment without pi-heif")


@pytest.mark.usefixtures("without_heif")
def test_a_class_in_a_format_that_is_not_read_is_an_error_with_counts(folder_of_photos):
    root = folder_of_photos({"daisy": 10, "rose": 10, "tulip": 10})
    (root / "lily").mkdir()
    for i in range(5):
        (root / f"lily/IMG_{i}.HEIC").write_bytes(HEIC)
        (root / f"rose/IMG_{i}.HEIC").write_bytes(HEIC)
    (root / "rose/drawing.psd").write_bytes(b"8BPS" + bytes(400))
    result, told = run_check(root)
    assert result.exit_code == 1
    assert "No training picture for 'lily'" in told["refusal"]
    finding = finding_in(told, "unreadable-format")
    assert finding["severity"] == "error"
    assert "11 of 41 files" in finding["evidence"]
    assert "a HEIC photo, which cannot be read here. (10)" in finding["evidence"]
    assert "a Photoshop document, which cannot be read here. (1)" in finding["evidence"]
    assert "By class: 6 of 'rose', 5 of 'lily' (all there are)." in finding["evidence"]
    assert "convert it to JPEG" in finding["fix"]
    assert "'lily' in any split" in finding_in(told, "missing-class")["evidence"]
    assert "--drop-class lily" in finding_in(told, "cannot-train")["fix"]
    assert "next vizsla check" in " ".join(result.stderr.split())
    with pytest.raises(DataError, match=r"No training picture for 'lily'\. Pictures of it that cannot be read: 5"):
        fit(FitRequest(root, "test_resnet", random_init=True))
    result, told = run_check(root, "--drop-class", "lily")
    assert (result.exit_code, told["refusal"]) == (0, None)
    assert f"next vizsla fit {root} --drop-class lily" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"only": {"daisy": 9}}, "There is one class only: 'daisy'"),
        ({"train": {"a": 6, "b": 6}, "test": {"a": 2, "c": 2}}, "No training picture for 'c'"),
        ({"": {"a": 2, "b": 1}}, "The valid split is empty"),
        ({"train": {"a": 6, "b": 6}, "valid": {"a": 2, "b": 2}, "test": {}}, None),
    ],
)
def test_check_objects_to_what_fit_refuses(folder_of_photos, splits, words):
    root = folder_of_photos(splits=splits)
    result, told = run_check(root)
    assert result.exit_code == (0 if words is None else 1)
    if words is None:
        assert "cannot-train" not in {finding["id"] for finding in told["findings"]}
        return
    finding = finding_in(told, "cannot-train")
    assert f"`vizsla fit` refuses: {words}" in finding["evidence"]
    assert finding["severity"] == "error"
    assert finding["fix"]
    assert "Nothing to object to" not in result.stderr
    assert words in Path(told["report"]).read_text("utf-8").replace("&#39;", "'")
    with pytest.raises(DataError, match=words):
        fit(FitRequest(root, "test_resnet", random_init=True))


def test_the_exit_code_follows_fail_on(folder_of_photos):
    clean = folder_of_photos({"a": 20, "b": 20})
    assert [run_check(clean, *more)[0].exit_code for more in ([], ["--fail-on", "warning"])] == [0, 0]
    shutil.copy(clean / "a/000.jpg", clean / "stray.jpg")
    codes = [run_check(clean, "--fail-on", severity)[0].exit_code for severity in ("error", "warning")]
    assert codes == [0, 1]
    (clean / "a/empty.jpg").touch()
    assert run_check(clean)[0].exit_code == 0
    assert run_check(clean, "--fail-on", "error")[0].exit_code == 1
    result = CliRunner().invoke(app, ["check", str(clean), "--fail-on", "info"])
    assert "--fail-on 'info' is not known" in str(result.exception)
    assert "error, warning" in str(result.exception)


def test_stray_pictures_are_told_by_check_and_fit(folder_of_photos):
    root = folder_of_photos(splits={"train": {"red": 16, "green": 16}, "test": {"": 3}})
    shutil.copy(root / "train/red/000.jpg", root / "stray.jpg")
    result, told = run_check(root)
    assert {"stray-pictures", "unlabelled-pictures"} <= {finding["id"] for finding in told["findings"]}
    assert finding_in(told, "stray-pictures")["files"][0]["path"] == "stray.jpg"
    told_words = " ".join(result.stderr.replace("│", " ").split())  # however wide the table is
    assert "do: move them into the folder of their class" in told_words
    page = Path(told["report"]).read_text("utf-8")
    assert "1 picture lies directly in photos/" in page
    assert page.count("no label</b>") == 4
    warnings = " ".join(fit(FitRequest(root, "test_resnet", random_init=True)).warnings)
    assert "1 picture lies directly in photos/" in warnings
    assert "3 pictures lie in test/ without class folders" in warnings
    assert "1 picture lies directly in photos/" in " ".join(read_data(DataRequest(str(root))).notes)
