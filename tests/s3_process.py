"""The S3 door alone, as a process: ``python s3_process.py HOME PORT [KEY SECRET]``.

With a key it is as strict as S3: requests must be signed, and buckets must be made before they are written to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from vizsla.aws.s3 import application


def main(home: str, port: str, *keys: str) -> None:
    """Serve until it is ended."""
    app = application(Path(home), keys=dict(zip(keys[::2], keys[1::2], strict=True)), make_buckets=not keys)
    uvicorn.run(app, host="127.0.0.1", port=int(port), lifespan="off", ws="none", log_config=None, access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
