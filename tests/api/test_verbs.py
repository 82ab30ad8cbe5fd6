"""The verbs of batch transform, registry and endpoints, from Python."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import vizsla
from tests.batch.conftest import save_model
from vizsla.models.export import ExportedBackbone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: ExportedBackbone) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "colours", tiny_backbone)


def test_a_folder_is_transformed_and_read_as_a_table(
    model: Path, folder_of_photos: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photos = folder_of_photos({"red": 2, "blue": 1})
    (photos / "red" / "none.jpg").write_bytes(b"no picture")
    import vizsla.batch.run  # a room of another name: the verb's is free

    result = vizsla.transform(model, photos, table="parquet", executor="debug", progress=False)
    assert isinstance(result, vizsla.TransformResult)
    assert (result.inputs, result.failed, result.state.status) == (4, 1, "Completed")
    table = result.dataframe()
    assert table["input"].tolist() == ["blue/000.jpg", "red/000.jpg", "red/001.jpg", "red/none.jpg"]
    assert table["label"][1] == vizsla.load(model).predict(photos / "red" / "000.jpg").label
    files = vizsla.transform(model, photos, executor="debug", progress=False)
    assert json.loads((Path(files.output) / "blue/000.jpg.out").read_bytes())
    with pytest.raises(vizsla.UsageError, match="table='parquet'"):
        files.dataframe()
    with pytest.raises(vizsla.UsageError, match=r"'xml' is no choice(.|\n)*parquet"):
        vizsla.transform(model, photos, table="xml")  # type: ignore[arg-type]


def test_a_model_is_registered_approved_exported_and_deployed(
    model: Path, folder_of_photos: Callable[..., Path], tables: Path, tmp_path: Path
) -> None:
    home = Path(os.environ["VIZSLA_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(tables, home / "mlflow.db")
    photos = folder_of_photos({"red": 2, "blue": 1})
    done = vizsla.register(model, "colours", pictures=photos)
    assert (done.package.name, done.package.status) == ("colours/1", "PendingManualApproval")
    assert vizsla.approve("colours/1", alias="champion", why="good").aliases == ("champion",)
    made = vizsla.export("models:/colours@champion", "onnx", tmp_path / "exported", pictures=photos)
    assert {file.name for file in made.files} == {"model.onnx", "README.txt"}
    endpoint = vizsla.deploy("colours", "models:/colours@champion")
    try:
        picture = photos / "red" / "000.jpg"
        expected = vizsla.load(model).predict(picture)
        assert endpoint.invoke(picture)["predictions"][0]["label"] == expected.label
        assert endpoint.describe()["variants"][0]["Model"] == "colours/1"
        again = vizsla.BackgroundEndpoint.open("colours")
        assert repr(again) == f"BackgroundEndpoint('colours', InService, '{endpoint.url}')"
    finally:
        endpoint.delete()
    assert vizsla.reject("colours/1", why="biased").aliases == ()
