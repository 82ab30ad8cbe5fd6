"""The S3 door against a server that stores nothing: photos one by one, a large file, and the server's memory.

    python -m benchmarks.s3_door [--photos 3888] [--rounds 3] [--megabytes 500] [--peers]

``upload_data`` of the SageMaker SDK sends one file after another by ``upload_file``; so does this. The servers run as
processes beside it. ``--peers``: moto (VIZSLA_MOTO names the program ``moto_server``) and s3rver (VIZSLA_S3RVER).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config  # type: ignore[import-untyped]

from benchmarks.measure import interleaved, photos, ratio, seconds, spread, table

NOTHING = """
async def application(scope, receive, send):
    '''Reads what comes and forgets it.'''
    while scope["type"] == "http" and (await receive()).get("more_body"):
        pass
    head = [(b"content-length", b"0"), (b"etag", b'"d41d8cd98f00b204e9800998ecf8427e"')]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b""})
"""
SERVE = "import sys, uvicorn\n{}\nuvicorn.run(application, port=int(sys.argv[2]), lifespan='off', log_level='error')"
DOOR = "from pathlib import Path\nimport vizsla.aws.s3\napplication = vizsla.aws.s3.application(Path(sys.argv[1]))"
WHOLE = """
import sys, time
from pathlib import Path
from vizsla.aws import server
with server.serving(Path(sys.argv[1]), port=int(sys.argv[2])):
    time.sleep(86400)
"""
BUCKET = "benchmark"


class Server:
    """A process that listens."""

    def __init__(self, command: list[str], port: int) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="S3RVER",
            aws_secret_access_key="S3RVER",
            config=Config(s3={"addressing_style": "path"}),
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} did not start")

    def memory(self, what: str = "VmHWM") -> float:
        """Megabytes (of 1,000,000 bytes): the peak, or what is held now (``VmRSS``)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1.024 / 1000 for line in lines if line.startswith(what))

    def processor(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        """Measure the peak from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def servers(folder: Path, peers: bool) -> Iterator[dict[str, Server]]:
    """All of them, by name."""
    commands: dict[str, list[str]] = {
        "stores nothing": [sys.executable, "-c", SERVE.format(NOTHING), str(folder)],
        "S3 door": [sys.executable, "-c", SERVE.format(DOOR), str(folder / "door")],
        "whole AWS door": [sys.executable, "-c", WHOLE, str(folder / "whole")],
    }
    moto = os.environ.get("VIZSLA_MOTO") or shutil.which("moto_server")
    s3rver = os.environ.get("VIZSLA_S3RVER") or shutil.which("s3rver")
    if peers and moto:
        commands["moto"] = [moto, "-p"]
    if peers and s3rver:
        commands["s3rver"] = [s3rver, "-d", str(folder / "s3rver"), "-a", "127.0.0.1", "--silent", "-p"]
    started: dict[str, Server] = {}
    try:
        for name, command in commands.items():
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            started[name] = Server([*command, str(port)], port)
            started[name].client.create_bucket(Bucket=BUCKET)
        yield started
    finally:
        for server in started.values():
            server.process.kill()
            server.process.wait()


def upload(server: Server, files: list[Path]) -> float:
    """Seconds for all of them, one after another."""

    prefix = f"{time.time()}"  # other keys each time, as in a first upload

    def work() -> None:
        for file in files:
            server.client.upload_file(str(file), BUCKET, f"{prefix}/{file.parent.name}/{file.name}")

    return seconds(work)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3888)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    files = photos(options.photos)
    with tempfile.TemporaryDirectory() as name, servers(Path(name), options.peers) as all_of_them:
        before = {title: server.processor() for title, server in all_of_them.items()}
        took = interleaved(
            {title: functools.partial(upload, server, files) for title, server in all_of_them.items()},
            options.rounds,
        )
        floor = took["stores nothing"]
        rows = []
        for title, server in all_of_them.items():
            processor = (server.processor() - before[title]) / options.rounds
            rows.append([title, spread(took[title]), ratio(took[title], floor), f"{processor:.1f}"])
        print(f"{len(files):,} photos, one after another, {options.rounds} rounds in turn")
        table(["server", "seconds", "times the floor", "its processor time, s"], rows)

        large = Path(name) / "large"
        with open(large, "wb") as written:
            for _ in range(options.megabytes):
                written.write(os.urandom(1_000_000))
        rows = []
        for title, server in all_of_them.items():
            if title == "stores nothing":
                continue
            held = server.memory("VmRSS")
            server.forget_peak()
            up = [seconds(functools.partial(server.client.upload_file, str(large), BUCKET, "large")) for _ in range(2)]
            peak = server.memory()
            back = str(Path(name) / "back")
            down = [seconds(functools.partial(server.client.download_file, BUCKET, "large", back)) for _ in range(2)]
            assert Path(back).stat().st_size == large.stat().st_size
            rows.append(
                [title, f"{statistics.mean(up):.1f}", f"{statistics.mean(down):.1f}", f"{held:.0f}", f"{peak:.0f}"]
            )
        print(f"one file of {options.megabytes} MB, mean of 2")
        table(["server", "up, s", "down, s", "memory before, MB", "peak memory, MB"], rows)


if __name__ == "__main__":
    main()
