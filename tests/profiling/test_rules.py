"""Each planted bottleneck is named by its rule, and sound loops by none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from tests.profiling.conftest import Watch  # noqa: E402
from tests.profiling.loops import STEPS, Pictures, Shards, compute, evaluate, network, save, train  # noqa: E402
from vizsla.errors import UsageError  # noqa: E402
from vizsla.profiling.evaluation import evaluate as ask  # noqa: E402
from vizsla.profiling.evaluation import findings_of  # noqa: E402
from vizsla.profiling.finding import ProfileFinding  # noqa: E402
from vizsla.profiling.layout import minute_file  # noqa: E402
from vizsla.profiling.profile import JobProfile  # noqa: E402
from vizsla.profiling.rules import RULES, rule_class, rules_with  # noqa: E402
from vizsla.profiling.sampler import Lines  # noqa: E402


def found(profile: JobProfile) -> dict[str, ProfileFinding]:
    results = ask(profile)
    assert not [r.broken for r in results if r.broken]
    return {finding.rule: finding for finding in findings_of(results)}


def machine(profile: JobProfile, *, cores: int = 2, limit: float | None = None) -> None:
    """Facts of a sampler that saw a machine of that size."""
    profile.folder.mkdir(parents=True, exist_ok=True)
    facts = {"cores": list(range(cores)), "core_limit": limit or cores, "missing": {}}
    (profile.folder / "sampler.json").write_text(json.dumps(facts))


def sampled(
    profile: JobProfile, values: Callable[[float], list[tuple[str, str, str, float]]], kind: str = "system"
) -> None:
    """Samples over the loop: forty, of what ``values`` gives for the share of it that is over."""
    assert profile.segments is not None
    begin, end = profile.segments.loop
    lines = Lines(profile.folder / kind / "incremental")
    for i in range(40):
        lines.write([(begin + (end - begin) * (i + 0.5) / 40, values(i / 40))])
    lines.close()


def test_workers_that_start_anew_each_epoch_are_to_stay(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        loader = DataLoader(Pictures(n=16), 4, num_workers=1, worker_init_fn=lambda i: time.sleep(0.3))
        for _ in range(6):
            for x, _ in loader:
                model(x).sum().backward()
                optimizer.step()

    finding = found(watch(loop))["data_stall"]
    assert "waits for workers that start anew in each epoch" in finding.message
    assert finding.fix == "set persistent_workers=True in the DataLoader"
    assert finding.seconds > 5 * 0.3


SOUND: list[Callable[[], object]] = [
    lambda: train(Pictures(), epochs=2, after=lambda model: evaluate(model, 16)),
    lambda: train(Pictures(), each=lambda model, loss: print(loss.item())),
    lambda: train(Pictures(), accumulation=2, each=lambda model, loss: None),
]


@pytest.mark.parametrize("loop", SOUND)
def test_nothing_is_found_in_a_sound_loop(
    watch: Watch, loop: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.profiling import loops

    monkeypatch.setattr(loops, "network", lambda: network(64))
    profile = watch(loop)
    machine(profile)
    sampled(
        profile,
        lambda share: [
            ("cpu", f"cpu{i}", d, v) for i in (0, 1) for d, v in (("CPUUtilization", 88.0), ("I/OWaitPercentage", 1.0))
        ],
    )
    sampled(
        profile, lambda share: [("process", "CPUUtilization", "", 170.0), ("process", "Memory", "", 5e8)], "process"
    )
    assert not set(found(profile)) - {"step_outlier"}, "steps on a busy machine are not alike"


def test_a_loader_that_computes_and_has_no_workers(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures(compute(0.006))))
    machine(profile, cores=8)
    findings = found(profile)
    assert {"data_stall", "dataloader"} <= set(findings)
    assert "io_bottleneck" not in findings
    assert findings["dataloader"].change == {"parameter": "num_workers", "from": 0, "to": 8}
    assert findings["data_stall"].seconds > STEPS * 0.9 * 4 * 0.006 * 0.8


def test_a_slow_disk(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures(lambda: time.sleep(0.006))))
    machine(profile)
    finding = found(profile)["io_bottleneck"]
    assert "its loaders compute in" in finding.message


def test_decoding_large_pictures_anew(watch: Watch, tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((1200, 900), 60).convert("RGB").save(tmp_path / "large.jpg")

    class Photos(Pictures):
        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            with Image.open(tmp_path / "large.jpg") as image:
                image.convert("RGB").reduce(40)
            return torch.zeros(3, 32, 32), i % 3

    profile = watch(lambda: train(Photos()))
    machine(profile)
    finding = found(profile)["decode_bound"]
    assert "1.1 megapixels" in finding.message
    assert finding.change["parameter"] == "cached_pixels"


def test_a_huge_evaluation(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures(), epochs=2, after=lambda model: (evaluate(model, 600), time.sleep(0))))
    machine(profile)
    results = ask(profile, {"EvaluationCost": {"seconds": "0.01"}})
    finding = next(f for f in findings_of(results) if f.rule == "evaluation_cost")
    assert finding.change["parameter"] == "evaluate_every"
    assert "evaluation_cost" not in found(profile), "less than two seconds are not worth a word"


def test_values_that_are_read_at_every_step(watch: Watch) -> None:
    def read(model: Any, loss: Any) -> None:
        for parameter in model.parameters():
            for value in parameter.flatten()[:400]:
                value.item()

    profile = watch(lambda: train(Pictures(), each=read))
    machine(profile)
    finding = found(profile)["logging_sync"]
    assert finding.evidence["values_a_step"] > 500


def test_a_slow_checkpoint(watch: Watch, tmp_path: Path) -> None:
    profile = watch(lambda: train(Pictures(), epochs=2, after=save(tmp_path, 0.4)))
    machine(profile)
    assert found(profile)["slow_checkpoint"].evidence["times"] == 2


@pytest.mark.parametrize(("own", "severity"), [(180.0, "warning"), (60.0, "info")])
def test_a_few_steps_that_take_far_longer(watch: Watch, own: float, severity: str) -> None:
    """Where others take much of the machine, that is no fault of the job's."""
    number = iter(range(1000))
    profile = watch(
        lambda: train(Pictures(), epochs=2, each=lambda model, loss: time.sleep(0.3 * (next(number) % 7 == 6)))
    )
    machine(profile)
    sampled(profile, lambda share: [("cpu", f"cpu{i}", "CPUUtilization", 95.0) for i in (0, 1)])
    sampled(profile, lambda share: [("process", "CPUUtilization", "", own)], "process")
    finding = found(profile)["step_outlier"]
    assert finding.severity == severity
    assert ("others took 65 % of the machine" in finding.message) == (severity == "info")


def test_an_idle_worker(watch: Watch) -> None:
    # The larger loader of the evaluation is not the one that training draws from.
    profile = watch(lambda: train(Shards(), workers=2, after=lambda model: evaluate(model, 400)))
    machine(profile)
    finding = found(profile)["load_balancing"]
    assert finding.message.startswith("Worker 1 of 2 fetched 0 batches")


def test_more_threads_than_cores(watch: Watch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        profile = watch(lambda: train(Pictures()))
    finally:
        torch.set_num_threads(before)
    machine(profile)
    assert found(profile)["thread_oversubscription"].change == {"parameter": "threads", "from": 5, "to": 2}


def test_one_core_of_many(watch: Watch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        profile = watch(lambda: train(Pictures()))
    finally:
        torch.set_num_threads(before)
    machine(profile, cores=8)
    sampled(profile, lambda share: [("process", "CPUUtilization", "", 99.0)], "process")
    finding = found(profile)["idle_cores"]
    assert finding.message == "The job uses 1.0 of 8 cores (12 %): torch computes in 1 thread."


def test_memory_that_grows_all_along_and_memory_that_came_at_once(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures()))
    machine(profile)
    sampled(profile, lambda share: [("process", "Memory", "", 5e8 * (1 + share))], "process")
    assert found(profile)["gpu_memory_increase"].severity == "warning"
    for path in (profile.folder / "process" / "incremental").glob("*/*"):
        path.unlink()
    profile = JobProfile(profile.job)
    sampled(profile, lambda share: [("process", "Memory", "", 5e8 + 5e8 * (share > 0.5))], "process")
    assert "gpu_memory_increase" not in found(profile)


def test_a_late_first_step(watch: Watch) -> None:
    def loop() -> None:
        time.sleep(0.3)
        train(Pictures())

    profile = watch(loop)
    machine(profile)
    sampler = json.loads((profile.folder / "sampler.json").read_text())
    assert profile.segments is not None
    sampler |= {"began": profile.segments.loop[0] - 40, "seconds": 45.0}
    (profile.folder / "sampler.json").write_text(json.dumps(sampler))
    profile = JobProfile(profile.job)
    assert "slow_initialization" in found(profile)
    results = findings_of(ask(profile, {"MaxInitializationTime": {"threshold": 0.5}}))
    assert "max_initialization_time" in {finding.rule for finding in results}


def gpu_rows(used: float, memory: float, core: float) -> list[tuple[str, str, str, float]]:
    return [
        ("gpu", "gpu0", "GPUUtilization", used),
        ("gpu", "gpu0", "GPUMemoryUtilization", memory),
        ("cpu", "cpu0", "CPUUtilization", core),
        ("cpu", "cpu0", "I/OWaitPercentage", 80.0),
    ]


def test_the_rules_about_gpus_speak_of_samples_of_one(watch: Watch) -> None:
    profile = watch(lambda: train(Pictures()))
    machine(profile)
    facts = next((profile.folder / "framework").glob("*.json"))
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "device": "cuda"}))
    profile = JobProfile(profile.job)
    sampled(profile, lambda share: gpu_rows(4.0, 10 + 60 * share, 97.0))
    assert {"low_gpu_utilization", "cpu_bottleneck", "io_bottleneck", "gpu_memory_increase"} <= set(found(profile))
    details = next(r for r in ask(profile) if r.rule.title() == "LowGPUUtilization").to_dict()
    assert set(details) == {"RuleTriggered", "Violations", "Details", "Datapoints", "RuleParameters"}
    assert details["Details"]["algo-1"]["gpu0"]["p95"] == pytest.approx(4.0)
    assert details["RuleParameters"].splitlines()[0] == "threshold_p95:70"
    assert details["Datapoints"] == 40


def test_rules_have_awss_names_and_parameters_and_say_what_else_there_is() -> None:
    aws = {"BatchSize", "CPUBottleneck", "Dataloader", "GPUMemoryIncrease", "IOBottleneck", "LoadBalancing"}
    aws |= {
        "LowGPUUtilization",
        "MaxInitializationTime",
        "StepOutlier",
        "OverallSystemUsage",
        "OverallFrameworkMetrics",
    }
    assert {kind.aws for kind in RULES if kind.aws} == aws
    assert rule_class("lowgpuutilization") is rule_class("LowGPUUtilization") is rule_class("low_gpu_utilization")
    (rule,) = [r for r in rules_with({"StepOutlier": {"stddev": "5"}}) if r.title() == "StepOutlier"]
    assert rule.parameters().splitlines()[0] == "stddev:5"
    with pytest.raises(UsageError, match="no rule 'StepOutlyer'") as refused:
        rule_class("StepOutlyer")
    assert "StepOutlier" in str(refused.value)
    with pytest.raises(UsageError, match="StepOutlier has no parameter 'sigma'") as refused:
        rules_with({"StepOutlier": {"sigma": 1}})
    assert "stddev, n_outliers" in str(refused.value)
    with pytest.raises(UsageError, match="stddev='much' is no number"):
        rules_with({"StepOutlier": {"stddev": "much"}})


def test_minutes_have_files_of_their_own(tmp_path: Path) -> None:
    assert minute_file(tmp_path, 1591748109.2) == tmp_path / "2020061000" / "1591748100.algo-1.json"
