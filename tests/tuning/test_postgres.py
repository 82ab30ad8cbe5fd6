"""A study in PostgreSQL: a real server, made for these tests and gone after them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import JobError, UsageError, VizslaError
from vizsla.training.config import StepConfig
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.tuning.storage import stored_trials, without_password
from vizsla.tuning.study_lock import controlling
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest
from vizsla.workflow.tune import load_tuning

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the server listens. It refuses to run as root, and runs as another user then."""
    program = shutil.which("pg_ctl") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), default=None)
    if program is None:
        pytest.skip("needs PostgreSQL (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="vizsla-postgres-"))
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        known = {entry.pw_name for entry in pwd.getpwall()}
        user = {"user": "postgres" if "postgres" in known else "nobody", "group": None, "extra_groups": []}
        shutil.chown(folder, user["user"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ctl(*words: str) -> None:
        command = [program, "-D", str(folder / "data"), "-s", "-w", *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **user)

    try:
        ctl("init", "-o", "-A trust -U vizsla -N --no-instructions")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        ctl("start", "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql://vizsla:hidden@127.0.0.1:{port}/postgres"
        finally:
            ctl("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def request(photos: Path, study: str, space: dict[str, str], name: str) -> FitRequest:
    search = SearchRequest(
        space=Space.of(space), strategy="tpe", limits=SearchLimits(trials=3), finalists=0, study=study
    )
    return FitRequest(photos, "test_resnet", None, True, StepConfig(epochs=1), name=name, tune=search)


def test_searches_share_a_study_in_a_database(address: str, folder_of_photos: Callable[..., Path]) -> None:
    photos, space = folder_of_photos({"red": 12, "green": 12}), {"lr": "0.001..0.1:log"}
    first = fit(request(photos, f"{address}#shared", space, "first"))
    second = fit(request(photos, f"{address}#shared", space, "second"))
    assert first.search is not None
    assert second.search is not None
    assert [t.params for t in first.search.trials] == [t.params for t in second.search.trials]  # it was full
    assert len(load_tuning("second").trials) == len(stored_trials(address, "shared")) == 3
    with pytest.raises(UsageError, match="The study 'shared' searches another space"):
        fit(request(photos, f"{address}#shared", {"lr": "0.001..0.2"}, "third"))
    assert stored_trials(address, "nobody's") == []


HOLDER = """
import sys
from vizsla.tuning.study_lock import controlling
with controlling(sys.argv[1], "locked", "the-first"):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_one_search_writes_a_study(address: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has it\n"
    second = controlling(address, "locked", "the-second")
    with pytest.raises(JobError, match="Another search writes this study: job the-first") as caught, second:
        pass
    assert "hidden" not in str(caught.value)
    assert "name another study (ADDRESS#NAME) by study" in str(caught.value)
    with controlling(address, "another study", "the-third"):
        pass
    holder.kill()
    holder.communicate()
    with controlling(address, "locked", "the-second"):
        pass


def test_a_database_that_is_not_there_is_said_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"postgresql://vizsla:hidden@127.0.0.1:{port}/postgres"
    with pytest.raises(VizslaError, match="The study cannot be opened") as caught:
        stored_trials(uri, "x")
    assert without_password(uri) == f"postgresql://vizsla:***@127.0.0.1:{port}/postgres"
    assert without_password(uri) in str(caught.value)
    assert "hidden" not in str(caught.value)
