"""The S3 door alone, as a process: ``python s3_process.py HOME PORT [KEY SECRET]``.

With a key it is as strict as S3: requests must be signed, and buckets must be made before they are written to. While
there is a file ``HOME/expired``, it answers as S3 does to credentials that have expired.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

from vizsla.aws.s3 import application

_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def main(home: str, port: str, *keys: str) -> None:
    """Serve until it is ended."""
    app = application(Path(home), keys=dict(zip(keys[::2], keys[1::2], strict=True)), make_buckets=not keys)

    async def door(scope: Any, receive: Any, send: Any) -> None:
        if not Path(home, "expired").exists():
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/xml"), (b"content-length", str(len(_EXPIRED)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": _EXPIRED})

    uvicorn.run(door, host="127.0.0.1", port=int(port), lifespan="off", ws="none", log_config=None, access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
