"""Everything that is planted is found, in its files and nowhere else; clean photos are left in peace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from planted import KINDS, Planted, clean

from vizsla.data.gate import GateOptions, GateResult, pass_gate
from vizsla.data.manifest import read_decisions
from vizsla.data.scan import scan
from vizsla.data.sources import list_source
from vizsla.images import Limits

pytest.importorskip("cleanvision")
pytest.importorskip("pyarrow")

ONLY_CLASSES = ("missing_class", "few_pictures", "imbalance")


@pytest.fixture(scope="module")
def ground(flowers: Path, tmp_path_factory) -> Path:
    """A clean data set, and a cache that the tests here share."""
    folder = tmp_path_factory.mktemp("ground")
    clean(flowers, folder / "clean")
    return folder


def gated(root: Path, cache: Path) -> GateResult:
    listing = list_source(root)
    seen = scan(listing.root, listing.paths, cache=cache, threads=2, limits=Limits(10**8, 10**8, 20))
    decisions = read_decisions(root / "none")
    return pass_gate(
        listing, seen, decisions, GateOptions(), seed=0, repaired=cache / "r", limits=Limits(10**8, 10**8, 20)
    )


def found(result: GateResult) -> dict[str, set[str]]:
    return {finding.id: {file.path for file in finding.files} for finding in result.findings}


def planted_in(ground: Path, target: Path) -> Planted:
    shutil.copytree(ground / "clean", target)
    return Planted(target)


def test_nothing_is_found_in_clean_photos(ground: Path):
    assert found(gated(ground / "clean", ground / "cache")) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found_and_nothing_else(kind: str, ground: Path, flowers: Path, tmp_path: Path):
    planted = planted_in(ground, tmp_path / "data")
    KINDS[kind](planted, flowers)
    result = gated(planted.root, ground / "cache")
    assert found(result) == planted.expected
    for finding in result.findings:
        assert finding.title
        assert finding.fix
        assert finding.evidence.endswith(".")
        assert all(file.detail for file in finding.files)


def test_all_kinds_at_once(ground: Path, flowers: Path, tmp_path: Path):
    planted = planted_in(ground, tmp_path / "data")
    for name, plant in KINDS.items():
        if name not in ONLY_CLASSES:
            plant(planted, flowers)
    result = gated(planted.root, ground / "cache")
    assert len(planted.expected) >= 20
    assert found(result) == planted.expected
    order = [("error", "warning", "info").index(finding.severity) for finding in result.findings]
    assert order == sorted(order)
