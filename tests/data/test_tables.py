"""Tables of pictures: CSV, JSON lines, Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vizsla.data import open_dataset
from vizsla.errors import DataError, SourceError, UsageError


@pytest.fixture
def photos(folder_of_photos) -> Path:
    return folder_of_photos({"red": 20, "green": 20})


def rows_of(root: Path, **columns):
    rows = [{"path": p.relative_to(root).as_posix(), "label": p.parent.name} for p in sorted(root.rglob("*.jpg"))]
    return [row | {name: value(i) for name, value in columns.items()} for i, row in enumerate(rows)]


def write_csv(file: Path, rows, header=None) -> Path:
    header = header or list(rows[0])
    lines = [",".join(header), *(",".join(str(row[name]) for name in rows[0]) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_the_same_table_in_every_format(photos):
    rows = rows_of(photos, split=lambda i: ("train", "train", "val", "Test")[i % 4])
    write_csv(photos / "t.csv", rows)
    (photos / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), photos / "t.parquet")
    (photos / "t.tsv").write_text((photos / "t.csv").read_text().replace(",", "\t"))
    for name in ("t.csv", "t.jsonl", "t.parquet", "t.tsv"):
        dataset = open_dataset(photos / name)
        assert dataset.counts().tolist() == [[10, 5, 5], [10, 5, 5]], name
        assert dataset.classes == ("green", "red")
        assert dataset.path(0).is_file()


def test_a_table_without_splits_is_split_here(photos):
    dataset = open_dataset(write_csv(photos / "t.csv", rows_of(photos)))
    assert dataset.counts().tolist() == [[14, 3, 3], [14, 3, 3]]


def test_groups_of_a_column_stay_together(photos):
    file = write_csv(photos / "t.csv", rows_of(photos, animal=lambda i: i // 4))
    dataset = open_dataset(file, group_by="animal")
    assert dataset.groups is not None
    for group in set(dataset.groups.tolist()):
        assert len(set(dataset.splits[dataset.groups == group].tolist())) == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_group_0_is_a_group(photos, suffix):
    rows = rows_of(photos, animal=lambda i: i // 10)
    file = photos / f"t.{suffix}"
    if suffix == "csv":
        write_csv(file, rows)
    elif suffix == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    dataset = open_dataset(file, group_by="animal")
    assert dataset.groups is not None
    assert np.bincount(dataset.groups).tolist() == [10, 10, 10, 10]


def test_a_missing_column_is_named_with_those_there_are(photos):
    file = write_csv(photos / "t.csv", rows_of(photos), header=["path", "lable"])
    with pytest.raises(DataError) as caught:
        open_dataset(file)
    assert "no column 'label'; its columns are path, lable" in caught.value.what
    assert caught.value.do == "rename 'lable' to 'label'"
    assert "t.csv" in caught.value.where


def test_an_unknown_class_is_found_with_its_line_and_a_guess(photos):
    rows = rows_of(photos, split=lambda i: "train" if i % 2 else "valid")
    rows[6]["label"] = "grene"
    with pytest.raises(DataError) as caught:
        open_dataset(write_csv(photos / "t.csv", rows))
    assert "Unknown class 'grene'" in caught.value.what
    assert "line 8" in caught.value.where
    assert "green, red" in caught.value.allowed
    assert "'green'" in caught.value.do


@pytest.mark.parametrize("variant", ["Red", "red ", " RED"])
def test_labels_that_differ_only_by_case_or_spaces(photos, variant):
    rows = rows_of(photos)
    rows[-1]["label"] = variant
    file = photos / "t.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError) as caught:
        open_dataset(file)
    assert repr(variant) in caught.value.what
    assert "'red' (19 pictures)" in caught.value.what
    assert "differ only by case or spaces" in caught.value.what
    assert rows[-1]["path"] in caught.value.where


def test_class_folders_that_differ_only_by_case(folder_of_photos):
    with pytest.raises(DataError, match=r"'Cat' .* and 'cat' .* differ only by case"):
        open_dataset(folder_of_photos({"Cat": 5, "cat": 4, "dog": 5}))


def test_an_unknown_split_an_empty_cell_and_two_labels(photos):
    rows = rows_of(photos, split=lambda i: "train")
    rows[2]["split"] = "sometimes"
    with pytest.raises(DataError, match=r"no split 'sometimes'") as caught:
        open_dataset(write_csv(photos / "t.csv", rows))
    assert "line 4" in caught.value.where
    assert "validation" in caught.value.allowed
    rows[2] |= {"split": "train", "label": ""}
    with pytest.raises(DataError, match="column 'label' is empty"):
        open_dataset(write_csv(photos / "t.csv", rows))
    rows[2] |= {"label": "red", "path": rows[0]["path"]}
    with pytest.raises(DataError, match="labelled 'red' here and 'green' in line 2"):
        open_dataset(write_csv(photos / "t.csv", rows))


def test_tables_that_are_none(photos):
    for name, content, words in (
        ("a.csv", b"path,label\n\xff\xfe\x00,x\n", "not UTF-8"),
        ("a.jsonl", b'{"path": "a.jpg"\n', "not a JSON object"),
        ("a.parquet", b"nothing", "cannot be read"),
    ):
        (photos / name).write_bytes(content)
        with pytest.raises(SourceError, match=words):
            open_dataset(photos / name)
    with pytest.raises(SourceError, match="no such table"):
        open_dataset(photos / "missing.csv")
    (photos / "b.csv").write_text("path,label\nx.jpg,a\ny.jpg,b\n")
    with pytest.raises(DataError, match="None of the pictures is there"):
        open_dataset(photos / "b.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_delimiter_and_byte_order_mark(photos, delimiter, mark):
    lines = [delimiter.join(("path", "label")), *(delimiter.join(row.values()) for row in rows_of(photos))]
    (photos / "t.csv").write_text(mark + "\r\n".join(lines), encoding="utf-8")
    assert open_dataset(photos / "t.csv").counts().sum(axis=1).tolist() == [20, 20]


def test_a_table_without_a_header(photos):
    rows = [(row["label"], ("train", "val", "test")[i % 3], row["path"]) for i, row in enumerate(rows_of(photos))]
    (photos / "t.csv").write_text("\n".join(";".join(row) for row in rows))
    dataset = open_dataset(photos / "t.csv")
    assert len(dataset) == 40
    assert dataset.classes == ("green", "red")
    assert dataset.counts()[:, 1].sum() == 13
    assert "t.csv has no header: its columns were taken for label, split, path." in dataset.notes
    (photos / "t.csv").write_text("\n".join(";".join((*row, "x", "y")) for row in rows))
    with pytest.raises(DataError) as caught:
        open_dataset(photos / "t.csv")
    assert "has no header: its first line is a row already, 'green', 'train', 'green/000.jpg', 'x'" in caught.value.what
    assert "a first line with the names of the columns" in caught.value.allowed
    assert "line 1" in caught.value.where


def test_a_row_with_more_cells_than_columns(photos):
    file = write_csv(photos / "t.csv", rows_of(photos))
    file.write_text(file.read_text().replace("red/003.jpg,red", "red/003.jpg,red, bright"))
    with pytest.raises(DataError, match="This line has 3 cells, and the table 2 columns") as caught:
        open_dataset(file)
    assert "line 25" in caught.value.where
    assert "quotes" in caught.value.do


def test_a_table_with_other_names_of_columns_and_its_photos_elsewhere(photos):
    rows = [{"filepaths": Path(row["path"]).name, "labels": row["label"]} for row in rows_of(photos / "red")]
    file = write_csv(photos / "t.csv", [row | {"labels": f"c{i % 2}"} for i, row in enumerate(rows)])
    with pytest.raises(DataError, match=r"20 names could be any of several pictures, such as '000.jpg': green/000"):
        open_dataset(file)
    for path in (photos / "green").iterdir():
        path.unlink()
    dataset = open_dataset(file)
    assert dataset.counts().sum(axis=1).tolist() == [10, 10]
    assert dataset.layout == "Table: t.csv (filepaths, labels); 20 pictures of 2 classes"


def test_options_that_do_not_fit_a_table(photos):
    file = write_csv(photos / "t.csv", rows_of(photos))
    with pytest.raises(UsageError, match="go with a folder only"):
        open_dataset(file, label_from="(.+)")
    with pytest.raises(DataError, match="No labels of the layout 'cvat' lie here"):
        open_dataset(file, layout="cvat")


def test_pictures_inside_of_a_table_are_refused_in_words(photos):
    rows = [{"image": {"bytes": b"x", "path": "a.jpg"}, "label": i % 2} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), photos / "t.parquet")
    with pytest.raises(DataError, match="The column 'image' holds the pictures themselves") as caught:
        open_dataset(photos / "t.parquet")
    assert "as files" in caught.value.do


def test_a_picture_that_is_not_there_is_not_taken_from_the_folder_of_another_class(photos):
    rows = [row for row in rows_of(photos) if row["path"] != "red/003.jpg"]  # which no row is about
    (photos / "green/003.jpg").unlink()
    for file, paths in ((photos / "t.csv", ""), (photos / "u.csv", "C:\\Users\\anna\\")):
        dataset = open_dataset(write_csv(file, [row | {"path": paths + row["path"]} for row in rows]))
        assert any("1 row of 39 name pictures that are not there" in note for note in dataset.notes)
        assert "red/003.jpg" not in dataset.paths
        file.unlink()
    write_csv(photos / "t.csv", rows)
    dataset = open_dataset(photos, layout="table")
    assert "green/003.jpg" in dataset.paths
    assert "red/003.jpg" not in dataset.paths


@pytest.mark.parametrize("missing", [float("nan"), "nan", "NaN", "<NA>", " "])
def test_what_pandas_writes_for_a_missing_label_is_no_class(photos, missing):
    rows = rows_of(photos)
    rows[3]["label"] = missing
    file = photos / "t.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match="The column 'label' is empty") as caught:
        open_dataset(file)
    assert "line 4" in caught.value.where
    assert "remove the row" in caught.value.do


def test_numbers_that_a_missing_one_has_made_floats(photos):
    rows = [{"id": float(i), "label": float(i // 20)} for i in range(40)]
    for i, path in enumerate(sorted(photos.rglob("*.jpg"))):
        path.rename(photos / "red" / f"{i:05}.jpg")
    pq.write_table(pa.Table.from_pylist(rows), photos / "t.parquet")
    dataset = open_dataset(photos / "t.parquet")
    assert dataset.classes == ("0", "1")
    assert dataset.paths[7] == "red/00007.jpg"


def test_splits_that_the_folders_of_the_pictures_name(folder_of_photos):
    root = folder_of_photos(splits={"train": {"": 8}, "dev": {"": 4}})
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.jpg"))]
    lines = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(names)]
    (root / "metadata.csv").write_text("file_name,label\n" + "\n".join(lines))
    dataset = open_dataset(root)
    assert dataset.counts()[:, :2].sum() == 12 - dataset.counts()[:, 2].sum()
    assert dataset.counts()[:, 1].tolist() == [2, 2]
    assert "The splits are those that the folders of the pictures name." in dataset.notes


def test_a_picture_in_two_splits_is_asked_about(photos):
    rows = rows_of(photos, split=lambda i: "train" if i % 2 else "test")
    file = write_csv(photos / "t.csv", [*rows, rows[0] | {"split": "train"}])
    with pytest.raises(DataError, match=r"'green/000.jpg' is in train here and in test in line 2") as caught:
        open_dataset(file)
    assert "line 42" in caught.value.where
    assert caught.value.allowed == "one label and one split for each picture"
    file = write_csv(photos / "t.csv", [*(row | {"split": ""} for row in rows[:1]), *rows])
    assert open_dataset(file).counts()[:, 2].sum() == 20  # of two rows, the one that says more


def test_columns_of_truths_about_a_split(photos):
    file = write_csv(photos / "t.csv", rows_of(photos, is_valid=lambda i: i % 4 == 0))
    assert open_dataset(file).counts()[:, 1].tolist() == [5, 5]
    file.write_text(file.read_text().replace("True", "perhaps"))
    assert any("'is_valid' was not taken for splits, as it holds 'perhaps'" in n for n in open_dataset(file).notes)


def test_what_spreadsheets_write(photos):
    lines = ["sep=;", "path;label", *(f"{row['path']};{row['label']}" for row in rows_of(photos))]
    (photos / "t.csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert len(open_dataset(photos / "t.csv")) == 40
    (photos / "t.csv").write_text("\r\n".join([*lines, "x.jpg;Gänseblümchen"]), encoding="cp1252")
    with pytest.raises(SourceError, match=r"not UTF-8 text, as in 'x\.jpg;Gänseblümchen'") as caught:
        open_dataset(photos / "t.csv")
    assert caught.value.where.endswith("t.csv, line 43")
    assert "CSV UTF-8" in caught.value.do


def test_an_empty_table_and_one_of_very_many_columns(photos):
    (photos / "t.csv").write_text("")
    with pytest.raises(DataError, match="The table is empty"):
        open_dataset(photos / "t.csv")
    (photos / "t.csv").write_text(",".join(f"pixel{i}" for i in range(784)) + "\n")
    with pytest.raises(DataError, match=r"its columns are pixel0, .*, pixel19 and 764 more\."):
        open_dataset(photos / "t.csv")


def test_a_label_that_is_an_object(photos):
    rows = [row | {"label": {"name": row["label"], "id": 1}} for row in rows_of(photos)]
    (photos / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match="The column 'label' holds objects with name, id") as caught:
        open_dataset(photos / "t.jsonl")
    assert "as text" in caught.value.do


def test_labels_that_join_others_are_of_a_multi_label_data_set(photos):
    file = write_csv(
        photos / "t.csv",
        [row | {"label": "red|green" if i < 2 else row["label"]} for i, row in enumerate(rows_of(photos))],
    )
    with pytest.raises(
        DataError, match=r"2 pictures have more than one class, such as 'green/000.jpg' \(red\|green\)"
    ) as caught:
        open_dataset(file)
    assert "line 2" in caught.value.where
    file.write_text(file.read_text().replace("red|green", "salt|pepper"))
    assert open_dataset(file).classes == ("green", "red", "salt|pepper")


def test_a_column_in_which_no_value_repeats_is_no_label(photos):
    file = write_csv(photos / "t.csv", [row | {"label": f"{i}.5"} for i, row in enumerate(rows_of(photos))])
    with pytest.raises(DataError, match=r"Each of 40 pictures would have a class of its own, such as '0\.5'") as caught:
        open_dataset(file)
    assert caught.value.where.endswith("t.csv")
    assert "label_column" in caught.value.do
