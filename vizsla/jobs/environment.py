"""``requirements.txt`` of a script: installed once for its content, into an environment of its own.

``python -m vizsla.jobs.environment requirements.txt -- COMMAND...`` makes the environment, or finds it, and becomes
the command in it. The environment sees all packages of the one that runs Vizsla, so that only what is missing is
installed, and nothing is ever installed into that one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.settings import settings

_READY = "ready"
_LAST_LINES = 12


def environment(requirements: Path, cache: Path) -> Path:
    """The Python program of the environment for these requirements.

    Raises
    ------
    JobError
        When pip cannot install them, with its last lines.
    """
    content = requirements.read_bytes()
    base = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    key = hashlib.sha256(json.dumps([sys.version, sys.prefix, base]).encode() + b"\0" + content).hexdigest()[:32]
    folder = cache / "environments" / key
    program = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two jobs with the same requirements: the second waits
        if (folder / _READY).exists():
            return program
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        venv.create(folder, with_pip=False, symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = folder / "lib" / version / "site-packages"
        (site / "vizsla_base.pth").write_text("".join(f"{path}\n" for path in base))
        pip = [str(program), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r"]
        done = subprocess.run([*pip, str(requirements)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
        if done.returncode:
            raise JobError(
                "requirements.txt could not be installed:\n" + "\n".join(done.stdout.splitlines()[-_LAST_LINES:]),
                where=requirements,
                do="correct it, or install the packages yourself and leave it out",
            )
        write_json(folder / _READY, {"requirements": content.decode(errors="replace")})
    return program


def main(arguments: list[str]) -> NoReturn:
    """Make the environment and become the command."""
    requirements, _, *command = arguments
    try:
        program = environment(Path(requirements).absolute(), settings().cache)
    except JobError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        job = os.environ.get("VIZSLA_JOB_DIR")
        if job:
            Path(job, "output", "failure").write_text(str(error))
        sys.exit(1)
    if command[0] == sys.executable:
        command[0] = str(program)
    os.environ["PATH"] = os.pathsep.join([str(program.parent), os.environ.get("PATH", "")])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
