"""Phases and steps of real loops, seen from outside."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.profiling.conftest import Watch  # noqa: E402
from tests.profiling.loops import STEPS, Pictures, evaluate, network, save, train  # noqa: E402
from vizsla.jobs.directory import JobDirectory  # noqa: E402
from vizsla.profiling import phase  # noqa: E402
from vizsla.profiling.framework import events_of, write_trace  # noqa: E402
from vizsla.profiling.layout import output_of  # noqa: E402
from vizsla.profiling.profile import JobProfile  # noqa: E402
from vizsla.profiling.segments import Segments  # noqa: E402
from vizsla.profiling.start import new_clock  # noqa: E402
from vizsla.profiling.timeline import SEGMENT, Phase, Timeline, announce  # noqa: E402


def test_phases_cover_all_of_the_time_and_name_what_was_done(watch: Watch, tmp_path: Path) -> None:
    def loop() -> None:
        data = Pictures(lambda: time.sleep(0.002))
        train(data, epochs=2, after=lambda model: (evaluate(model, 40), save(tmp_path, 0.1)(model)))

    profile = watch(loop)
    phases = profile.phases
    assert sum(phases.values()) == pytest.approx(profile.seconds, rel=1e-6)
    assert {"waiting for data", "forward", "backward", "optimizer", "evaluation", "checkpoint"} <= set(phases)
    assert phases["waiting for data"] > 2 * STEPS * 4 * 0.002
    assert phases["checkpoint"] > 0.1
    assert profile.loop is not None
    assert profile.segments is not None
    begin, end = profile.segments.loop
    assert profile.loop.total == pytest.approx(end - begin)
    assert profile.loop.evaluation > 0
    steps = profile.steps()
    assert steps is not None
    assert len(steps) == 2 * STEPS
    assert set(steps.pictures) == {4}
    assert profile.steps("eval") is not None
    assert len(profile.steps("eval") or ()) == 20
    seconds = profile.phase_seconds(Phase.FORWARD) + profile.phase_seconds(Phase.BACKWARD)
    assert profile.phase_seconds(Phase.BACKWARD) > 0.3 * seconds, "what AWS's profiler never measured"


def test_gradients_that_add_up_are_one_step(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures(), accumulation=4))
    steps = profile.steps()
    assert steps is not None
    assert len(steps) == STEPS // 4
    assert profile.segments is not None
    assert int((profile.segments.phase == Phase.BACKWARD).sum()) == STEPS


def test_a_loop_without_a_loader_has_steps_too(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for number in range(10):
            with phase("data"):
                x = torch.zeros(2, 3, 32, 32)
            model(x).sum().backward()
            optimizer.step()
            if number % 5 == 4:
                with torch.no_grad():
                    model(x)

    profile = watch(loop)
    assert len(profile.steps() or ()) == 10
    assert len(profile.steps("eval") or ()) == 2


def test_what_torch_had_is_as_before(watch: Watch) -> None:
    before = (torch.nn.Module.__call__, torch.autograd.backward, torch.Tensor.item, torch.save, print)
    watch(lambda: train(Pictures()))
    assert before == (torch.nn.Module.__call__, torch.autograd.backward, torch.Tensor.item, torch.save, print)


def test_a_copy_to_another_device_is_a_transfer_and_one_to_the_same_is_none(watch: Watch) -> None:
    def loop() -> None:
        train(Pictures(), each=lambda model, loss: (torch.zeros(9).to("meta"), torch.zeros(9).to("cpu")))

    profile = watch(loop)
    assert profile.segments is not None
    assert int((profile.segments.phase == Phase.TRANSFER).sum()) == STEPS


def test_a_compiled_model_and_saved_ones_are_as_without(watch: Watch, tmp_path: Path) -> None:
    def loop() -> None:
        model = network()
        compiled = torch.compile(model, backend="eager")
        x = torch.zeros(2, 3, 32, 32)
        compiled(x).sum().backward()
        assert torch.equal(compiled(x), model(x))
        torch.save(model, tmp_path / "model.pt")
        torch.jit.trace(model, x)

    profile = watch(loop)
    assert profile.phases["backward"] > 0
    assert profile.phases["initialisation, compiling"] > 0
    assert len(torch.load(tmp_path / "model.pt", weights_only=False)) == 6


def _fetch(send: multiprocessing.connection.Connection) -> None:
    torch.set_num_threads(1)  # the pool of threads that this process has been forked from is not here
    for _ in range(6):
        network()(torch.zeros(2, 3, 32, 32)).sum().backward()  # as a loader that uses a network would
        send.send(1)


def test_loaders_that_a_script_forks_and_its_other_threads_are_not_the_loop(watch: Watch, job: JobDirectory) -> None:
    def loop() -> None:
        receive, send = multiprocessing.get_context("fork").Pipe()
        process = multiprocessing.get_context("fork").Process(target=_fetch, args=(send,))
        process.start()
        thread = threading.Thread(target=lambda: [network()(torch.zeros(2, 3, 32, 32)) for _ in range(20)])
        thread.start()
        train(Pictures(), each=lambda model, loss: None)
        thread.join()
        process.join()
        assert receive.poll()

    profile = watch(loop)
    assert len(profile.processes) == 1
    assert profile.facts["pid"] == os.getpid()
    assert profile.segments is not None
    assert int((profile.segments.phase == Phase.BACKWARD).sum()) == STEPS
    assert set(profile.segments.count[profile.segments.phase == Phase.FORWARD]) == {4}, "theirs are of two"


def test_a_clock_that_jumps_changes_nothing(job: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = Timeline(output_of(job.path), new_clock())
    real = time.time
    for jump in (0.0, -7200.0, 86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: int((real() + jump) * 1e9))
        timeline.begin(Phase.BACKWARD)
        time.sleep(0.01)
        timeline.end()
        time.sleep(0.001)
    timeline.close()
    segments = JobProfile(job.path).segments
    assert segments is not None
    assert len(segments) == 3
    assert np.all(np.diff(segments.began) > 0)
    assert np.all(np.diff(segments.began) < 1)


def test_a_process_that_was_killed_while_it_wrote_leaves_all_but_half_a_segment(tmp_path: Path) -> None:
    rows = [SEGMENT.pack(10**18 + i * 10**7, 5000, 1, Phase.FORWARD, 0) for i in range(5)]
    path = tmp_path / "1-1.segments"
    path.write_bytes(b"".join(rows)[:-7])
    assert len(Segments.read(path)) == 4
    path.write_bytes(b"")
    assert len(Segments.read(path)) == 0


def test_a_job_that_was_removed_does_not_come_back(job: JobDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    timeline = Timeline(output_of(job.path), new_clock())
    timeline.begin(Phase.BACKWARD)
    timeline.end()
    shutil.rmtree(job.path)
    timeline.close()
    assert not job.path.exists()
    assert "the profiler's timeline is off" in capsys.readouterr().err


def test_the_trace_has_the_form_of_sagemakers(watch: Watch) -> None:
    import json

    profile = watch(lambda: train(Pictures()))
    path = write_trace(profile)
    assert path is not None
    assert path.relative_to(profile.folder).parts[:2] == ("framework", "pevents")
    lines = json.loads(path.read_text())
    assert lines[0]["args"]["start_time_since_epoch_in_micros"] == int(events_of(profile).began_us[0])
    names = [line["name"] for line in lines if line["ph"] == "X"]
    assert names.count("Step:ModeKeys.TRAIN") == STEPS
    assert names.count("Backward(post-forward)") == STEPS
    assert names.count("DataLoaderIterInitialize") == 1


def test_of_our_own_work_the_epochs_count_and_all_else_has_its_own_name(watch: Watch) -> None:
    def own() -> None:
        announce("plan")
        network()(torch.zeros(2, 3, 32, 32))  # timed
        for _ in range(2):
            announce("activations")
            time.sleep(0.4)
            announce("epochs")
            train(Pictures())
            evaluate(network(), 8)
        announce("export")
        network()(torch.zeros(2, 3, 32, 32))
        time.sleep(0.2)

    profile = watch(own)
    assert len(profile.steps()) == 2 * STEPS
    assert 0.8 <= profile.phases["features"] < 1.2
    assert profile.steps("eval").seconds.max() < 0.3, "no step lasts until the loop goes on"
    assert profile.loop.total - profile.loop.train > 0.4
    assert sum(profile.phases.values()) == pytest.approx(profile.seconds, rel=0.02)


def test_functions_and_models_that_compile_in_place_have_their_compiling_too(watch: Watch) -> None:
    import torch._dynamo.callback as callbacks

    def loop() -> None:
        model = network()
        model.compile(backend="eager")
        optimizer = torch.optim.SGD(model.parameters(), 0.01)

        @torch.compile(backend="eager", fullgraph=True)
        def loss_of(x: torch.Tensor) -> torch.Tensor:
            return model(x).square().mean()

        for _ in range(3):
            loss_of(torch.ones(2, 3, 8, 8)).backward()
            optimizer.step()

    profile = watch(loop)
    assert profile.phases["initialisation, compiling"] > 0
    assert len(profile.steps() or ()) == 3
    assert not callbacks.callback_handler.start_callbacks
