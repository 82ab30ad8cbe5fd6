"""The options on data fill their two configurations, and are the same for every verb."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vizsla.cli import source
from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions


def test_there_is_an_option_for_every_field() -> None:
    assert list(source._SOURCE) == [field.name for field in fields(SourceOptions)]
    assert list(source._GATE) == [field.name for field in fields(GateOptions)]


def test_without_options_the_configurations_are_the_defaults() -> None:
    assert source.configurations({}) == (SourceOptions(), GateOptions())
    values = {name: default.default for name, (_, default) in (source._SOURCE | source._GATE).items()}
    assert source.configurations(values) == (SourceOptions(), GateOptions())


def test_what_differs_is_typed_as_options() -> None:
    given = SourceOptions(("a b", "c"), label_column="breed"), GateOptions(on_leak="warn", near_copies="off")
    expected = "--drop-class 'a b' --drop-class c --label-column breed --on-leak warn --near-copies off"
    assert " ".join(source.typed(*given)) == expected
    assert source.typed(SourceOptions(), GateOptions()) == []


def test_a_verb_gets_configurations_in_place_of_options() -> None:
    got: list[object] = []

    @source.data_options
    def verb(data: str, *, source: SourceOptions, gate: GateOptions, seed: int = 0) -> None:
        got.extend([data, source, gate, seed])

    names = list(verb.__signature__.parameters)  # type: ignore[attr-defined]
    assert names == ["data", *source._SOURCE, *source._GATE, "seed"]
    values = {name: default.default for name, (_, default) in (source._SOURCE | source._GATE).items()}
    verb(data="photos", seed=3, **(values | {"drop_classes": ["x"]}))
    assert got == ["photos", SourceOptions(("x",)), GateOptions(), 3]


@pytest.mark.parametrize("verb", ["check", "fit", "tune"])
def test_every_verb_on_data_has_them(verb: str) -> None:
    from typer.testing import CliRunner

    module = __import__(f"vizsla.cli.{verb}", fromlist=["app"])
    arguments = ["run", "--help"] if verb == "tune" else ["--help"]
    shown = CliRunner().invoke(module.app, arguments, env={"COLUMNS": "200"}).output
    for option in ("--drop-class", "--label-column", "--near-copies", "--on-damaged"):
        assert option in shown
