"""What belongs to a batch of a loader, in loops as people write them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint_sequential  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from tests.profiling.conftest import Watch  # noqa: E402
from tests.profiling.loops import STEPS, Pictures, network, train  # noqa: E402
from vizsla.profiling.profile import JobProfile  # noqa: E402
from vizsla.profiling.timeline import Phase  # noqa: E402


def one_step_a_batch(profile: JobProfile) -> None:
    steps, evaluations = profile.steps(), profile.steps("eval")
    assert steps is not None
    assert len(steps) == STEPS
    assert set(steps.pictures) == {4}
    assert len(evaluations or ()) == 0
    assert "evaluation" not in profile.phases


class Slow(torch.nn.Module):  # type: ignore[misc]
    """A transform that is a module, as torchvision's are."""

    def forward(self, x: object) -> object:
        time.sleep(0.002)
        return x


def test_a_transform_that_is_a_module_is_loading(watch: Watch) -> None:
    transform = Slow()
    profile = watch(lambda: train(Pictures(lambda: transform(torch.zeros(3, 8, 8)))))
    one_step_a_batch(profile)
    assert profile.phases["waiting for data"] > 4 * STEPS * 0.002


def test_a_file_of_tensors_that_a_dataset_loads_is_loading(watch: Watch, tmp_path: Path) -> None:
    torch.save(torch.zeros(500, 500), tmp_path / "x.pt")
    profile = watch(lambda: train(Pictures(lambda: torch.load(tmp_path / "x.pt"))))
    one_step_a_batch(profile)
    assert profile.phase_seconds(Phase.WEIGHTS) == 0


def test_the_pass_of_a_teacher_is_a_part_of_the_step(watch: Watch) -> None:
    def loop() -> None:
        teacher, student = network(), network()
        optimizer = torch.optim.SGD(student.parameters(), 0.01)
        for x, _ in DataLoader(Pictures(), 4):
            with torch.no_grad():
                wanted = teacher(x)
            (student(x) - wanted).square().mean().backward()
            optimizer.step()

    one_step_a_batch(watch(loop))


def test_two_optimizers_of_a_generator_and_its_critic_step_once_a_batch(watch: Watch) -> None:
    def loop() -> None:
        generator, critic = torch.nn.Sequential(torch.nn.Linear(32, 32)), network()
        optimizers = [torch.optim.SGD(m.parameters(), 0.01) for m in (generator, critic)]
        for x, _ in DataLoader(Pictures(), 4):
            with torch.no_grad():
                made = generator(torch.randn(4, 3, 32, 32))
            critic(x).mean().backward()
            (-critic(made).mean()).backward()
            optimizers[1].step()
            critic(generator(torch.randn(4, 3, 32, 32))).mean().backward()
            optimizers[0].step()

    one_step_a_batch(watch(loop))


def test_a_forward_pass_that_is_made_again_for_the_backward_pass_is_backward(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for x, _ in DataLoader(Pictures(), 4):
            checkpoint_sequential(model, 3, x, use_reentrant=False).sum().backward()
            optimizer.step()

    profile = watch(loop)
    one_step_a_batch(profile)
    assert profile.segments is not None
    assert int((profile.segments.phase == Phase.BACKWARD).sum()) == STEPS


def test_a_loop_on_one_batch_that_was_drawn_once_has_its_steps(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        x, _ = next(iter(DataLoader(Pictures(), 4)))
        for _ in range(STEPS):
            model(x).sum().backward()
            optimizer.step()

    one_step_a_batch(watch(loop))


def test_a_step_that_calls_a_closure_again_and_again_is_one(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=12, tolerance_grad=0, tolerance_change=0)
        for x, _ in DataLoader(Pictures(), 4):

            def closure(x: torch.Tensor = x) -> torch.Tensor:
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                return loss

            optimizer.step(closure)

    one_step_a_batch(watch(loop))


def test_pictures_that_a_batch_is_cut_into_are_counted_once(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for x, _ in DataLoader(Pictures(), 4):
            for part in x.chunk(2):
                model(part).sum().backward()
            optimizer.step()

    one_step_a_batch(watch(loop))


def test_gradients_of_a_part_alone_are_backward_and_no_training(watch: Watch) -> None:
    def loop() -> None:
        model = network()
        train(Pictures())
        for x, _ in DataLoader(Pictures(), 4):
            x.requires_grad_()
            torch.autograd.grad(model(x).sum(), x)

    profile = watch(loop)
    assert len(profile.steps() or ()) == STEPS
    assert len(profile.steps("eval") or ()) == STEPS


def test_records_of_a_logger_are_logging(watch: Watch) -> None:
    logger, handler = logging.getLogger("a.script"), logging.Handler()
    handler.emit = lambda record: time.sleep(0.002)  # type: ignore[method-assign]
    logger.addHandler(handler)
    profile = watch(lambda: train(Pictures(), each=lambda model, loss: logger.warning("%s", loss.item())))
    assert profile.phases["logging"] > STEPS * 0.002


def test_lazy_modules_are_moved_as_without_a_profile(watch: Watch) -> None:
    made: list[object] = []
    watch(lambda: made.append(torch.nn.Sequential(torch.nn.LazyLinear(2)).to("cpu")(torch.ones(3, 4)).shape))
    assert made == [(3, 2)]
