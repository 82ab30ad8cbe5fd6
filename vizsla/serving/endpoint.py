"""A server in the background of a Python session."""

from __future__ import annotations

import threading
from types import TracebackType

from vizsla.errors import VizslaError
from vizsla.serving.server import ServeOptions, Server
from vizsla.settings import settings


class Endpoint:
    """A running server. It ends with :meth:`close`, with its ``with`` block, or with the process.

    Parameters
    ----------
    options:
        As for :class:`~vizsla.serving.server.Server`.

    Raises
    ------
    VizslaError
        When a model cannot be loaded, or the address cannot be listened on.

    Examples
    --------
    >>> with vizsla.serve("runs/train-photos") as endpoint:  # doctest: +SKIP
    ...     httpx.post(f"{endpoint.url}/invocations", content=Path("rose.jpg").read_bytes()).json()
    """

    def __init__(self, options: ServeOptions) -> None:
        self._server = Server(options, settings())
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vizsla-endpoint", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:41873``; ``/invocations`` below it answers, and ``/`` is a page."""
        return self._server.address

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Answer what was asked, and end; a second call does nothing."""
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}{'' if self.running else ', closed'})"

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}">{self.url}</a>' if self.running else f"{self.url} (closed)"

    def _run(self) -> None:
        try:
            self._server.run(self._started.set)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start
            self._failure = error
        else:
            if not self._started.is_set():
                self._failure = VizslaError("The server ended before it answered.", where=self.url)
        finally:
            self._started.set()
