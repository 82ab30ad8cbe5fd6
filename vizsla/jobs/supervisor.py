"""The small process beside every job: starts it, keeps its log, limits and stops it, and says how it ended.

One supervisor runs for each attempt, in a session of its own, with nothing but the standard library, so that it
starts in milliseconds and goes on when the controller is killed. It reads ``.run/command.json`` and leaves
``.run/process.json`` (while the job runs) and ``.run/exit.json`` (when it has ended); it never writes ``state.json``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from vizsla.files import write_json
from vizsla.jobs.handover import ENVIRONMENT, Command, Exit, Processes, Why, folder_id, load
from vizsla.jobs.isolate import enter, link, unlink
from vizsla.jobs.output import JobOutput
from vizsla.jobs.pack import ARCHIVE, Packing, holds_anything, inference_code
from vizsla.jobs.processes import Process, boot_id, children, signal_group
from vizsla.profiling.layout import CLOCK, output_of
from vizsla.profiling.start import LEAST_REPORTED_SECONDS, end_sampler, new_clock, start_report, start_sampler, wait_for

_PIPE_BYTES = 1 << 20
_DRAIN_SECONDS = 1.0
_SCRAPE_SECONDS = 0.5
_LEAST_PACKING_SECONDS = 1.0
_LONGEST_SLEEP = 86_400.0  # select knows no longer ones than some years
_SMALL, _REST_SECONDS = 64 << 10, 0.05
_RESERVE_BYTES = 256 << 10
_REPORT_SECONDS, _STOPPED_REPORT_SECONDS = 20.0, 3.0
"""A shorter job that trains no network has no report until it is asked for; how long one may take, and that of a job
which somebody wants to end."""
_NOT_PACKED: tuple[None, None, list[str]] = (None, None, [])
_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36  # sys/prctl.h: PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER


def main(job: Path) -> None:
    """Run one attempt of ``job``, when its controller has written down that it does."""
    if not os.read(0, 1):
        return  # the controller is gone, or its disk is full
    run = job / ".run"
    fields = load(run / "command.json") or {}
    fields["metrics"] = [(name, regex) for name, regex in fields["metrics"]]
    for slot in fields.get("slots", []):
        os.set_inheritable(slot, False)  # what the job leaves running must not keep them
    _Attempt(job, Command(**fields)).run()


class _Attempt:
    def __init__(self, job: Path, command: Command) -> None:
        self.job, self.run_folder, self.command = job, job / ".run", command
        self.output = JobOutput(
            job,
            command.metrics,
            command.attempt,
            log_bytes=(command.log_head, command.log_tail),
            scrape_seconds=_SCRAPE_SECONDS,
        )
        self.status: int | None = None
        self.why: Why = "exited"
        self.kill_at: float | None = None
        self.killed = False
        self.clock = new_clock()

    def run(self) -> None:
        """Start, watch, end, tell."""
        _prctl(_CHILD_SUBREAPER, 1)
        if self.command.ends_with_parent:
            _end_with_parent()
        reserve = self.run_folder / "reserve"
        with contextlib.suppress(OSError):  # on a full disk there must be room to say so
            reserve.write_bytes(b"\0" * _RESERVE_BYTES)
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        killed_before = _oom_kills()
        began = time.monotonic()
        self.pid, output = self._start()
        interval = self.command.sampled
        sampler = None if interval is None else start_sampler(self.job, interval, self.clock, self.pid)
        self._watch(output, wake_read, began)
        end_sampler(sampler)
        self._end_everything(output)
        report = self._report(time.monotonic() - began)
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        disk_full = self.output.disk_full or _disk_full(self.job)
        reserve.unlink(missing_ok=True)
        missing = self.output.close(tell_missing=code == 0 or self.why != "exited")
        packed, pack_error, left_out = self._pack(began, wake_read) if code == 0 and not self.killed else _NOT_PACKED
        wait_for(report, _REPORT_SECONDS if self.why == "exited" else _STOPPED_REPORT_SECONDS)
        end = Exit(
            attempt=self.command.attempt,
            code=code,
            why=self.why,
            killed=self.killed,
            out_of_memory=code == -signal.SIGKILL and not self.killed and _oom_kills() > killed_before,
            disk_full=disk_full,
            seconds=round(time.monotonic() - began, 3),
            limit=self.command.limit,
            log_bytes=self.output.size,
            tail=self.output.tail,
            packed=packed,
            pack_error=pack_error,
            left_out=left_out,
            missing_metrics=missing,
        )
        write_json(self.run_folder / "exit.json", asdict(end))

    def _report(self, seconds: float) -> int | None:
        """Begin to write what the profiler saw."""
        trained = any((output_of(self.job) / "framework").glob("*.segments"))
        is_due = self.command.sampled is not None and (trained or seconds >= LEAST_REPORTED_SECONDS)
        return start_report(self.job) if is_due and self.job.is_dir() else None

    def _start(self) -> tuple[int, int]:
        """Fork the job; it waits until its number is written down, so that no job runs that nobody knows."""
        output, into = os.pipe2(os.O_CLOEXEC)
        gate, opened = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError, AttributeError):
            import fcntl

            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the child has no handler that swallows it
        pid = os.fork()
        if pid == 0:
            self._become_the_job(into, gate, opened)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        me = Process.of(os.getpid())
        running = Processes(
            attempt=self.command.attempt,
            supervisor=me.pid,
            supervisor_started=me.started,
            group=pid,
            group_started=Process.of(pid).started,
            boot=boot_id(),
            folder=folder_id(self.run_folder),
        )
        write_json(self.run_folder / "process.json", asdict(running))
        os.write(opened, b".")
        for file in (into, gate, opened):
            os.close(file)
        os.set_blocking(output, False)
        return pid, output

    def _become_the_job(self, into: int, gate: int, opened: int) -> None:
        """In the child: its own group, its own /opt/ml, its own files; then the job's program."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.setpgid(0, 0)
            _end_with_parent()
            os.close(opened)
            if not os.read(gate, 1):
                os._exit(127)  # the supervisor is gone
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(into, 1)
            os.dup2(into, 2)
            environment = os.environ | self.command.environment
            environment.pop(CLOCK, None)  # of a job that this one was started in
            if self.command.sampled is not None:
                environment[CLOCK] = str(self.clock)
            self._give_opt_ml()
            os.chdir(self.command.folder)
            os.execvpe(self.command.argv[0], self.command.argv, environment)
        except (OSError, ValueError) as error:  # a name of a variable with "=" in it, a NUL
            os.write(2, f"vizsla: cannot start {self.command.argv[0]!r}: {error}\n".encode())
        finally:
            os._exit(127)

    def _give_opt_ml(self) -> None:
        if not self.command.opt_ml and os.geteuid() != 0:
            return  # a namespace of a user who is not root changes more than this path: only where it is wanted
        try:
            enter(self.job)
        except OSError:
            if self.command.opt_ml:
                try:
                    link(self.job)
                except OSError as error:
                    why = f"[vizsla: there is no /opt/ml for this job ({error.strerror}): use the SM_ variables]\n"
                    os.write(2, why.encode())

    def _watch(self, output: int, wake: int, began: float) -> None:
        """Until the job's first process ends: keep the log, mind the clock and the stop signal."""
        limit = None if self.command.limit is None else began + self.command.limit
        open_output, quiet_until = True, 0.0
        if (self.run_folder / "stop.json").exists():  # asked before there was someone to signal
            self._ask_to_stop("stopped")
        while self.status is None:
            resting = open_output and time.monotonic() < quiet_until
            moments = [m for m in (limit, self.kill_at, quiet_until if resting else None) if m is not None]
            timeout = min(_LONGEST_SLEEP, max(0.0, min(moments) - time.monotonic())) if moments else None
            ready, _, _ = select.select([wake] if resting or not open_output else [wake, output], [], [], timeout)
            if output in ready:
                before = self.output.size
                open_output = self._pump(output)
                if self.output.size - before < _SMALL:  # single lines: the pipe keeps the next ones for a moment
                    quiet_until = time.monotonic() + _REST_SECONDS
            if wake in ready and signal.SIGTERM in os.read(wake, 256):
                self._ask_to_stop("stopped")
            now = time.monotonic()
            if limit is not None and now >= limit:
                limit = None
                self._ask_to_stop("limit")
            if self.kill_at is not None and now >= self.kill_at:
                self.kill_at, self.killed = None, True
                signal_group(self.pid, signal.SIGKILL)
            self._reap()

    def _ask_to_stop(self, why: Why) -> None:
        kill_at = self._kill_time()
        if self.why != "exited":  # asked again: the shorter patience counts
            if self.kill_at is not None and why == "stopped":
                self.kill_at = min(self.kill_at, kill_at)
            return
        self.why, self.kill_at = why, kill_at
        if self.command.shell:
            signal_group(self.pid, signal.SIGTERM)
        else:  # its workers are its own to end: PyTorch takes a worker's end by SIGTERM for a crash of the loop
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _kill_time(self) -> float:
        """When the patience ends of whoever has asked the job to stop."""
        document = load(self.run_folder / "stop.json") or {}
        return time.monotonic() + float(document.get("grace", self.command.grace))

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.pid:
                    self.status = status

    def _end_everything(self, output: int) -> None:
        """Kill what the job left running, read what is still in the pipe, and remove what it has installed."""
        signal_group(self.pid, signal.SIGKILL)
        unlink(self.job)
        end = time.monotonic() + _DRAIN_SECONDS
        while (orphans := children(os.getpid())) and time.monotonic() < end:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
            self._reap()
        while time.monotonic() < end and select.select([output], [], [], 0)[0] and self._pump(output):
            pass
        shutil.rmtree(self.job / ENVIRONMENT, ignore_errors=True)

    def _pump(self, output: int) -> bool:
        """Take what is in the pipe; False at its end."""
        try:
            data = os.read(output, _PIPE_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        self.output.take(data)
        return True

    def _pack(self, began: float, wake: int) -> tuple[str | None, str | None, list[str]]:
        """Make the archive, unless the job made it itself; the limit, with the grace, and a stop end that too.

        Returns
        -------
        See the last three fields of :class:`Exit`.
        """
        archive = self.job / "output" / ARCHIVE
        if archive.exists():  # that of an earlier attempt was put aside
            return str(archive), None, []
        if not holds_anything(self.job / "model"):
            return _NOT_PACKED
        if not self.command.pack:
            return str(self.job / "model"), None, []
        deadline = self.kill_at
        if self.why == "exited" and self.command.limit is not None:
            deadline = began + self.command.limit + self.command.grace
        if deadline is not None:
            deadline = max(deadline, time.monotonic() + _LEAST_PACKING_SECONDS)
        packing, why = Packing(self.job / "model", archive, inference_code(self.job), _end_with_parent), self.why
        while True:
            timeout = None if deadline is None else min(_LONGEST_SLEEP, max(0.0, deadline - time.monotonic()))
            ready, _, _ = select.select([wake, packing.file], [], [], timeout)
            if packing.file in ready:
                error, left_out = packing.result()
                return str(archive) if error is None else None, error, left_out
            if wake in ready and signal.SIGTERM in os.read(wake, 256) and why == "exited":
                kill_at = self._kill_time()
                why, deadline = "stopped", kill_at if deadline is None else min(deadline, kill_at)
            if deadline is not None and time.monotonic() >= deadline:
                packing.end()
                self.why = "limit" if why == "exited" else why
                return None, "there was no time left for it; the files are in model/", []


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_with_parent() -> None:
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _oom_kills() -> int:
    """How often the system killed a process for want of memory: in this control group where it tells, else at all."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _disk_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _RESERVE_BYTES


if __name__ == "__main__":
    main(Path(sys.argv[1]))
