"""``vizsla tune --script`` as it is typed: channels, fixed hyperparameters, shared studies, words at the end."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from commandline import vizsla

SCRIPT = """
import json, os, sys
places = {name: os.listdir(place)[0] for name, place in os.environ.items() if name.startswith("SM_CHANNEL_")}
print("SAID", json.dumps([sys.argv[1:], places]))
print("loss=0.5")
"""
LOSS = ["--metric", r"loss=loss=(\S+)", "--minimize"]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(SCRIPT)
    for folder in ("A", "B", "C", "photos"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"in {folder}").touch()
    return "s.py"


def said(home: Path, name: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Arguments and channels of each trial."""
    found = []
    for log in sorted(home.glob(f"{name}-0*/logs.txt")):
        argv, channels = json.loads(log.read_text().split("SAID ")[1].splitlines()[0])
        found.append((dict(zip(argv[::2], argv[1::2], strict=True)), channels))
    return found


def test_typed_text_fixed_hyperparameters_and_channels_reach_each_trial_and_the_export(
    script: str, tmp_path: Path
) -> None:
    done = vizsla(
        *("tune", "train=A", "val=B", "bb=007,010", "on=true,false", "lr=1e-3,1e-2", "wd=0.50", "--data", "test=C"),
        *("--script", script, "--hp", 'epochs=3,mode=null,note="x"', *LOSS),
        *("--strategy", "grid", "--trials", "8", "--name", "t"),
    )
    assert done.returncode == 0, done.stderr
    assert "note val=B is a channel, as there are data at that place; --hyperparameters val=B makes it" in done.stderr
    trials = said(tmp_path / "runs", "t")
    assert len(trials) == 8
    for argv, channels in trials:
        fixed = {name: argv[name] for name in ("--wd", "--epochs", "--mode", "--note")}
        assert fixed == {"--wd": "0.50", "--epochs": "3", "--mode": "null", "--note": '"x"'}
        assert channels == {"SM_CHANNEL_TRAIN": "in A", "SM_CHANNEL_VAL": "in B", "SM_CHANNEL_TEST": "in C"}
    drawn = {(argv["--bb"], argv["--on"], argv["--lr"]) for argv, _ in trials}
    assert drawn == set(itertools.product(("007", "010"), ("true", "false"), ("1e-3", "1e-2")))
    best = json.loads(vizsla("tune", "export", "t").stdout)
    assert best.items() >= {"epochs": 3, "mode": "null", "note": '"x"', "wd": "0.50"}.items()
    shown = json.loads(vizsla("tune", "show", "t", "--json").stdout)["HyperParameterTuningJobConfig"]
    assert shown["ParameterRanges"]["StaticHyperParameters"]["epochs"] == 3
    again = vizsla("train", "--script", script, "--hyperparameters", json.dumps(best), "--name", "again")
    winner = next(argv for argv, _ in trials if argv["--bb"] == best["bb"] and argv["--on"] == best["on"])
    argv = json.loads(again.stderr.split("SAID ")[1].splitlines()[0])[0]
    assert dict(zip(argv[::2], argv[1::2], strict=True)) == winner | {"--lr": best["lr"]}


def test_a_value_that_is_no_place_is_a_value_and_a_first_one_needs_no_channel(script: str, tmp_path: Path) -> None:
    typed = ["lr=0.1,0.2", "model=A", "size=s", "val=B/../photso", "file=./s.py"]
    done = vizsla("tune", *typed, "--script", script, *LOSS, "--trials", "1", "--name", "t")
    assert done.returncode == 0, done.stderr
    ((argv, channels),) = said(tmp_path / "runs", "t")
    assert (argv["--size"], argv["--val"], argv["--file"]) == ("s", "B/../photso", "./s.py")
    note = "note val=B/../photso is a hyperparameter and no channel, as nothing is at that place"
    assert [line for line in done.stderr.splitlines() if "no channel" in line] == [note]
    assert "the one trial was started" in done.stdout
    assert "1 trial, minimize loss" in done.stdout
    assert channels == {"SM_CHANNEL_MODEL": "in A"}
    missing = vizsla("tune", "train=no/such", "lr=0.1,0.2", "--script", script, *LOSS)
    assert "There are no data for channel 'train'" in missing.stderr


def test_a_study_that_holds_as_many_trials_already_says_so_and_how_to_run_more(script: str, tmp_path: Path) -> None:
    words = ["tune", "photos", "x=1..9", "--script", script, *LOSS, "--study", "k.db", "--json"]
    assert vizsla(*words, "--trials", "3", "--name", "k1").returncode == 0
    reasons = []
    for trials, name in (("2", "k2"), ("5", "k3")):
        tuning = json.loads(vizsla(*words, "--trials", trials, "--name", name).stdout.splitlines()[-1])["tuning"]
        reasons.append((len(tuning["TrainingJobSummaries"]), tuning["StoppedBecause"]))
    first = "the study holds 3 trials of earlier searches, which count: nothing was run; --trials 5 runs 2 more"
    assert reasons == [(3, first), (5, "all 5 trials were started, 3 by earlier searches")]


def test_when_all_trials_crash_their_reason_is_told(script: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("raise KeyError('SM_CHANNEL_VAL')")
    done = vizsla("tune", "photos", "x=1..9", "--script", script, *LOSS, "--trials", "2")
    assert done.returncode == 1
    assert "No trial was completed: 2 of 2 failed, 2 of them because: KeyError: 'SM_CHANNEL_VAL'" in done.stderr
    assert "do: correct that and start a new search" in done.stderr
    assert "more time" not in done.stderr


@pytest.mark.parametrize("trials", ["1", "2", "9"])
def test_an_objective_that_is_no_number_is_told_with_what_was_there(script: str, tmp_path: Path, trials: str) -> None:
    text = (
        "print('/usr/lib/site-packages/torch/x.py:12: UserWarning: w'); print('valid/acc: 93.5%')\nprint('a.py:3: b')"
    )
    (tmp_path / "s.py").write_text(text)
    done = vizsla("tune", "photos", "x=1..9", "--script", script, "--metric", r"acc=acc: (\S+)", "--trials", trials)
    assert done.returncode == 2
    assert "in the log: its regular expression matched '93.5%', which is no number." in done.stderr
    assert "what was seen there: valid/acc\n" in done.stderr, "a line of a file is no metric"
    assert "do: correct --metric acc=REGEX (" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["photos", "x=1..9", "--script", "s.py", *LOSS, "--hp", "x=3"], "Parameter 'x' comes twice"),
        (["photos", "x=1..9", "y=1", "--script", "s.py", *LOSS, "--hp", "y=3"], "Parameter 'y' comes twice"),
        (["photos", "x=1..9", "--script", "s.py", *LOSS, "--epochs", "3"], "--epochs would have no effect here"),
        (["photos", "lr=0.1..0.2", "--metric", "a=(b)"], "--metric would have no effect here"),
        (["photos", "lr=0.1..0.2", "--hp", "lr=0.1"], "Parameter 'lr' comes twice"),
    ],
)
def test_what_cannot_be_meant(script: str, words: list[str], text: str) -> None:
    done = vizsla("tune", *words)
    assert done.returncode == 2
    assert text in done.stderr


def test_a_note_is_printed_once(script: str) -> None:
    metric = ["--metric", r"test loss=loss=(\S+)", "--minimize"]
    done = vizsla("tune", "photos", "x=1..9", "--script", script, *metric, "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("will look better than it is") == 1
