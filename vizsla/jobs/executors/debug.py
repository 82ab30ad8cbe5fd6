"""Jobs within this very process, for whoever wants to look into them: ``breakpoint()`` and a debugger work."""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from vizsla.debugging import current
from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs import attempt as attempts
from vizsla.jobs import inside, script
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Cursor, Handle, Poll
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import Exit
from vizsla.jobs.here import AskedToStop, stoppable
from vizsla.jobs.output import JobOutput
from vizsla.jobs.pack import ARCHIVE, holds_anything, inference_code, pack_model
from vizsla.jobs.processes import Process
from vizsla.jobs.profiled import config_of, profiled_here
from vizsla.jobs.slots import Capacity, Share, visible_gpus
from vizsla.jobs.spec import TrainingJobSpec, local_path
from vizsla.profiling.layout import output_of
from vizsla.profiling.start import start_report, wait_for
from vizsla.settings import usable_cores

_REPORT_SECONDS = 20.0
_INTERRUPTED, _TERMINATED = -2, -15


class DebugExecutor(Executor):
    """Runs a job's Python within this process and thread, while somebody polls; one after the other.

    A script runs where it lies, so that breakpoints set in an editor are met; its working directory is the job's copy
    of its code. What it prints is on the terminal and in the log.

    It cannot kill a job: Ctrl-C and ``vizsla jobs stop`` interrupt it, but what goes on all the same ends only with
    this process. The time limit does not count, as one thinks at a breakpoint. ``requirements.txt`` and ``setup.py``
    are not installed, and there is no ``/opt/ml``. What programs print that the job starts is on the terminal alone.
    """

    name = "debug"
    echoes = True

    def __init__(self, home: Path | None = None) -> None:
        super().__init__(home)
        self._polled = False

    def poll(self, handles: Sequence[Handle], since: Cursor | None = None) -> Poll:
        """See :meth:`vizsla.jobs.executors.base.Executor.poll`; waiting jobs run here, to their end."""
        self._polled = True
        try:
            return super().poll(handles, since)
        finally:
            self._polled = False

    def capacity(self) -> Capacity:
        """See :meth:`vizsla.jobs.executors.base.Executor.capacity`."""
        cpus, gpus = usable_cores(), len(list(visible_gpus()))
        return Capacity(cpus, gpus, cpus, gpus, self._waiting())

    def _check(self, spec: TrainingJobSpec) -> None:
        spec.resource_config.share(usable_cores(), len(list(visible_gpus())))
        argv = _arguments(spec, Path())
        if argv is None or not (argv[0] == "-m" or argv[0].endswith(".py")):
            raise JobError(
                "The debug executor runs Python only.",
                where="ContainerEntrypoint" if spec.script is None else spec.script[1],
                allowed="a .py script, or python -m MODULE",
                do="run it with the local executor",
            )

    def _room(self, spec: TrainingJobSpec) -> Share | None:
        return Share((), ()) if self._polled else None

    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        attempts.clear(job)
        process = Process.of(os.getpid())
        state = job.set_state("InProgress", pid=process.pid, pid_started=process.started)
        write_json(job.run / "exit.json", asdict(_Run(job, spec, state.attempts).run()))

    def _kill(self, job: JobDirectory) -> None:
        if job.state.pid == os.getpid():
            raise JobError(
                f"Job {job.name!r} runs within this process, which would have to be killed with it.", where=job.path
            )
        super()._kill(job)


class _Run:
    def __init__(self, job: JobDirectory, spec: TrainingJobSpec, attempt: int) -> None:
        self.job, self.spec, self.attempt = job, spec, attempt
        definitions = spec.algorithm_specification.metric_definitions or []
        self.output = JobOutput(job.path, [(d.name, d.regex) for d in definitions], attempt)
        self._lock = threading.Lock()

    def run(self) -> Exit:
        began = time.monotonic()
        inside.leave()  # of the job before
        try:
            profile = profiled_here(self.job, config_of(self.spec))
            with _surroundings(self.job, self.spec) as argv, self._heard(), stoppable(), profile:
                code = self._prepare() or self._run(argv)
        except AskedToStop:
            code = _TERMINATED
        except KeyboardInterrupt:
            attempts.note_stop(self.job, "interrupted from the keyboard")
            code = _INTERRUPTED
        with contextlib.suppress(Exception):
            inside.leave()
            current.close_all()
        if any((output_of(self.job.path) / "framework").glob("*.segments")):
            wait_for(start_report(self.job.path), _REPORT_SECONDS)
        is_stopped = attempts.stop_reason(self.job) is not None
        missing = self.output.close(tell_missing=code == 0 or is_stopped)
        packed, error, left_out = self._pack() if code == 0 else (None, None, [])
        return Exit(
            attempt=self.attempt,
            code=code,
            why="stopped" if is_stopped else "exited",
            killed=False,
            out_of_memory=False,
            disk_full=self.output.disk_full,
            seconds=round(time.monotonic() - began, 3),
            limit=None,
            log_bytes=self.output.size,
            tail=self.output.tail,
            packed=packed,
            pack_error=error,
            left_out=left_out,
            missing_metrics=missing,
        )

    def _run(self, argv: list[str]) -> int:
        """Run Python as ``python *argv`` does; the exit code."""
        try:
            if argv[0] == "-m":
                sys.argv = argv[1:]
                runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
            else:
                sys.argv = argv
                runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                return end.code or 0
            print(end.code, file=sys.stderr)
            return 1
        except (AskedToStop, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a script raises is its own end
            trace = error.__traceback__
            while trace and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
                trace = trace.tb_next
            traceback.print_exception(type(error), error, trace)
            return 1
        return 0

    def _prepare(self) -> int:
        """Fetch the channels that lie in a bucket, as a program of its own does; its exit code."""
        for file in ("requirements.txt", "setup.py"):
            if (self.job.code / file).is_file():
                print(f"[vizsla: {file} is not installed: a job within this process has its packages]", flush=True)
        if not self.spec.remote_channels or self.spec.algorithm_specification.is_builtin:
            return 0
        done = subprocess.run(script.before(["true"], "channels"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(done.stdout.decode(errors="replace"), end="", flush=True)
        return done.returncode

    def _pack(self) -> tuple[str | None, str | None, list[str]]:
        model, archive = self.job.model, self.job.output / ARCHIVE
        if archive.exists():
            return str(archive), None, []
        if not holds_anything(model):
            return None, None, []
        output = self.spec.output_data_config
        if output is not None and output.compression_type == "NONE":
            return str(model), None, []
        try:
            return str(archive), None, pack_model(model, archive, inference_code(self.job.path))
        except OSError as error:
            return None, str(error), []

    def _take(self, text: str) -> None:
        with self._lock:
            self.output.take(text.encode(errors="replace"))

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """What Python prints in the block goes to the log, too; its loggers begin without a handler."""
        before, tees = (sys.stdout, sys.stderr), [_Tee(stream, self._take) for stream in (sys.stdout, sys.stderr)]
        handlers, level = list(logging.root.handlers), logging.root.level
        sys.stdout, sys.stderr = tees
        logging.root.handlers.clear()  # as in a process of its own
        logging.root.setLevel(logging.WARNING)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
            for tee in tees:
                tee.take = None


class _Tee:
    """A terminal that is listened to; all else of it (``isatty``, ``fileno``) is the terminal's own."""

    def __init__(self, terminal: TextIO, take: Callable[[str], None]) -> None:
        self._terminal = terminal
        self.take: Callable[[str], None] | None = take

    def write(self, text: str) -> int:
        if self.take is not None:
            self.take(text)
        return self._terminal.write(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def _arguments(spec: TrainingJobSpec, code: Path) -> list[str] | None:
    """What stands behind ``python`` in a job's command; None where another program is asked for."""
    if spec.script is not None:
        return [str(code / spec.script[1]), *script.arguments(dict(spec.hyper_parameters))]
    algorithm = spec.algorithm_specification
    python, *argv = [*(algorithm.container_entrypoint or []), *(algorithm.container_arguments or [])] or [""]
    return argv if python == "python" and argv else None


@contextlib.contextmanager
def _surroundings(job: JobDirectory, spec: TrainingJobSpec) -> Iterator[list[str]]:
    """The variables, the folder, the search path and the modules of a job; all as before at the end of the block.

    Yields
    ------
    What stands behind ``python`` in the job's command.
    """
    environment, folder, arguments = dict(os.environ), os.getcwd(), sys.argv
    path, modules = list(sys.path), set(sys.modules)
    program, code = "", job.code
    if spec.script is not None:
        lies, program = local_path(spec.script[0]), spec.script[1]
        code = lies.absolute() if lies is not None and lies.is_dir() else job.code
    try:
        os.environ.update(script.variables(job.path.absolute(), spec, cpus=usable_cores(), gpus=None, program=program))
        os.chdir(job.code if program else job.path)
        places = [str((code / program).parent)] if program else []
        sys.path[:0] = [*places, *(place for place in os.environ["PYTHONPATH"].split(os.pathsep) if place)]
        yield _arguments(spec, code) or []
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv, sys.path[:] = arguments, path
        for name in set(sys.modules) - modules:  # another job's module of that name is another
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith((str(code), str(job.code))):
                del sys.modules[name]


EXECUTOR = DebugExecutor
