"""What a model's answers say, wherever in them the prediction is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import DataError, UsageError
from vizsla.workflow.predictor import AskedModel, Predictor, read_answer


@pytest.mark.parametrize(
    ("section", "answer", "expected"),
    [
        ({}, b"[[0.25, 0.75]]", "tulip"),
        ({}, b"0.9,0.1\n", "rose"),
        ({}, b"rose", "rose"),
        ({"label_headers": ["a", "b", "c"]}, b"[0.1, 0.2, 0.7]", "c"),
        ({}, b"[0.1, 0.2, 0.7]", 2),
        ({"label": 0}, b"tulip,0.9", "tulip"),
        ({"label": "predictions[0].label"}, b'{"predictions": [{"label": "rose", "score": 0.9}]}', "rose"),
        ({"probability": "scores"}, b'{"scores": [0.4, 0.6]}', "tulip"),
        ({"label": "names", "probability": "scores"}, b'{"scores": [0.4, 0.6], "names": ["x", "y"]}', "y"),
        ({"probability": "score"}, b'{"score": 0.51}', 1),
        ({"probability": 1}, b"rose,0.49", 0),
    ],
)
def test_the_prediction_is_found(section: dict[str, Any], answer: bytes, expected: object) -> None:
    predictor = Predictor.of(section)
    classes = predictor.label_headers or ("rose", "tulip")
    assert predictor.prediction(read_answer(answer), classes, 0.5) == expected


@pytest.mark.parametrize(
    ("section", "answer", "words"),
    [
        ({"label": "predictions.label"}, b'{"prediction": 1}', "has nothing at 'predictions.label'"),
        ({"label": 3}, b"a,b", "has nothing at 3"),
        ({}, b'["a", "b"]', "holds no scores"),
        ({}, b"\x93NUMPY\xff", "neither JSON nor CSV"),
    ],
)
def test_an_answer_that_says_nothing_is_shown(section: dict[str, Any], answer: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Predictor.of(section).prediction(read_answer(answer), (), 0.5)
    assert caught.value.do


def test_a_model_that_refuses_a_record_names_it(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    code = (
        "def model_fn(folder):\n    return None\n\ndef input_fn(body, content_type):\n    raise ValueError('no rows')\n"
    )
    (tmp_path / "code" / "inference.py").write_text(code)
    with pytest.raises(UsageError, match="brings its own code"):
        AskedModel(tmp_path, Predictor(), allow_code=False)
    asked = AskedModel(tmp_path, Predictor(), allow_code=True)
    try:
        with pytest.raises(DataError, match=r"no answer to record 1, sent as text/csv: .*no rows"):
            asked.ask([b"1,2\n"])
    finally:
        asked.close()
