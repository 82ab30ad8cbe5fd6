"""Runs a model's own code (``code/inference.py``) as SageMaker's PyTorch inference toolkit does. Started by the server.

Talks over its stdin and stdout: a line of JSON with the size of what follows, then the bytes. What the code prints
goes to stderr. The functions and their defaults are those of the sagemaker-pytorch-inference-toolkit
(``default_pytorch_inference_handler.py``): ``model_fn``, ``input_fn``, ``predict_fn``, ``output_fn`` or
``transform_fn``, each with or without a last ``context`` argument. What ``code/requirements.txt`` asks for is installed
once for its content, into an environment of its own; what the code installs itself goes into one that lies over that
and ends with the model.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

from vizsla.errors import ModelError, VizslaError
from vizsla.jobs import overlay
from vizsla.jobs.environment import environment as made_environment
from vizsla.jobs.isolate import enter_model
from vizsla.jobs.processes import signal_group
from vizsla.jobs.source_code import names_opt_ml
from vizsla.serving import code_errors
from vizsla.serving.default_functions import (
    TEXTS,
    UnsupportedAcceptError,
    UnsupportedTypeError,
    default_input_fn,
    default_model_fn,
    default_output_fn,
    default_predict_fn,
    json_bytes,
    media_type,
)
from vizsla.serving.entry import CODE, MAX_ANSWER_BYTES, PROGRAM, REQUIREMENTS, entry_script, program
from vizsla.settings import settings

_WORDS_BYTES = 500
"""Of the code's answer to a request that it refuses without a phrase."""
_PHRASE_BYTES = 10_000
_CONTENT_TYPE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,1000}")
"""What a header's value may be (RFC 9110, 5.5)."""


class UnusableAnswerError(ModelError):
    """An answer of the code that cannot be sent to a client."""


def main(model_dir: Path, environment: Path, *, install: bool = False) -> None:
    """Load the code and the model, then answer until stdin ends.

    With ``install`` what the code requires is laid below ``environment`` first, and this is called again in that.
    """
    no_opt_ml = None if install else _opt_ml(model_dir)  # before there is a second thread
    _end_with_server(os.dup(0))
    if install and (words := _install(model_dir, environment)) is None:
        _start_again(model_dir, environment)
    requests, answers = _private_pipes()
    if install:
        _send(answers, {"status": 500, "kind": "code-failed"}, _encoded(str(words)))
        return
    step = "import"
    try:
        module = _module(model_dir, entry_script())
        step = "model_fn"
        handler = Handler(model_dir, module, no_opt_ml)
    except ModelError as error:
        detail = {"where": error.where, "allowed": error.allowed, "do": error.do}
        header = {"status": 500, "kind": "code-failed", **detail}
        _send(answers, header, _encoded(error.what))
        return
    except BaseException as error:  # noqa: BLE001 - a user's code may raise anything, SystemExit included
        _send(answers, *_failure(error, step, model_dir, no_opt_ml))
        return
    _send(answers, {"status": 200}, b"")
    while line := requests.readline():
        header = json.loads(line)
        _send(answers, *_answer(handler, header, requests.read(header["size"])))
    _end()  # before the interpreter does, which stops the thread that would


def _opt_ml(model_dir: Path) -> str | None:
    """Give the code the model at ``/opt/ml/model``, where so many scripts expect it; else why that cannot be."""
    if os.geteuid() != 0 and not names_opt_ml(model_dir / CODE):
        return "nothing in its code/ names it"  # who is not root gets more than that path changed
    try:
        enter_model(model_dir)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _install(model_dir: Path, environment: Path) -> str | None:
    """Install what the code requires; words on what was wrong."""
    requirements = model_dir / REQUIREMENTS
    try:
        overlay.lay_over(environment, made_environment(requirements.absolute(), settings().cache))
    except (VizslaError, OSError) as error:
        print(error, file=sys.stderr)
        if isinstance(error, VizslaError):
            return f"The model's {error.what.splitlines()[0]}"
        return f"The model's requirements.txt could not be installed: {error}"
    return None


def _failure(error: BaseException, step: str, model_dir: Path, no_opt_ml: str | None) -> tuple[dict[str, Any], bytes]:
    """An error of the code, as it can be sent."""
    where, do = code_errors.place(error, model_dir), code_errors.advice(error, model_dir, no_opt_ml)
    return {"status": 500, "kind": "code-failed", "where": where, "do": do}, _encoded(code_errors.words(error, step))


def _answer(handler: Handler, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """The code's answer, or words on what is wrong; every one can be sent."""
    try:
        content, content_type = handler(body, header["content_type"], header["accept"], header["headers"])
        status, phrase = handler.context.status
        if status >= 400:
            return {"status": status, "kind": "code-refused"}, _encoded(phrase) or content[:_WORDS_BYTES]
        return {"status": 200, "content_type": _checked_type(content_type)}, _checked(content)
    except UnsupportedTypeError as error:
        return {"status": 415, "kind": "body-type"}, _encoded(str(error))
    except UnsupportedAcceptError as error:
        return {"status": 406, "kind": "accept"}, _encoded(str(error))
    except UnusableAnswerError as error:
        return {"status": 500, "kind": "code-failed", "allowed": error.allowed, "do": error.do}, _encoded(error.what)
    except BaseException as error:  # noqa: BLE001 - a user's code may raise anything, SystemExit included
        return _failure(error, "inference", handler.model_dir, handler.no_opt_ml)


def _checked(content: bytes) -> bytes:
    if len(content) <= MAX_ANSWER_BYTES:
        return content
    raise UnusableAnswerError(
        f"The model's code answered with {len(content):,} bytes.",
        allowed=f"at most {MAX_ANSWER_BYTES:,} bytes",
        do="answer with less, or with the address of what the code has stored elsewhere",
    )


def _checked_type(value: object) -> str:
    if isinstance(value, str) and _CONTENT_TYPE.fullmatch(value):
        return value
    raise UnusableAnswerError(
        f"The model's code gave its answer the content type {value!r:.200}.",
        allowed="a text that a header can carry, such as application/json: at most 1,000 characters of Latin-1, no "
        "line breaks",
        do="correct what output_fn or transform_fn returns, or set_response_content_type is given",
    )


class Context:
    """What the functions get as ``context``: of the model server's, the part that such code uses.

    The names and the order of arguments are those of TorchServe's ``ts/context.py``. Requests come one at a time, so
    that ``idx`` is always 0; names of headers are compared without regard to case.
    """

    def __init__(self, model_dir: Path) -> None:
        self.system_properties = {"model_dir": str(model_dir), "gpu_id": None, "batch_size": 1}
        self.manifest = {"model": {"modelName": model_dir.name}}
        self.begin({})

    def begin(self, headers: dict[str, str]) -> None:
        """Forget the last request."""
        self._headers = headers
        self.status, self.content_type = (200, ""), ""

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        """The request's headers by their names in lower case, without keys and signatures."""
        return dict(self._headers)

    def get_request_header(self, idx: int, key: str) -> str | None:
        """One of the request's headers."""
        return self._headers.get(key.lower())

    def set_response_content_type(self, idx: int, value: str) -> None:
        """The answer's content type, before the one that ``output_fn`` returns."""
        self.content_type = value

    def set_response_status(self, code: int = 200, phrase: str | None = "", idx: int = 0) -> None:
        """Refuse the request with a status from 400 to 599, and words for the client; others change nothing."""
        self.status = (int(code) if code < 600 else 500, str(phrase or ""))


class Handler:
    """The functions of ``inference.py`` with the toolkit's defaults for those that it lacks. ``no_opt_ml`` is why there
    is no ``/opt/ml/model``, for errors."""

    def __init__(self, model_dir: Path, module: ModuleType, no_opt_ml: str | None) -> None:
        self.model_dir, self.no_opt_ml = model_dir, no_opt_ml
        self.context = Context(model_dir)
        self._transform = getattr(module, "transform_fn", None)
        replaced = [name for name in ("input_fn", "predict_fn", "output_fn") if getattr(module, name, None)]
        if self._transform and replaced:  # the toolkit's words (transformer.py)
            raise ModelError(
                "Cannot use transform_fn implementation in conjunction with input_fn, predict_fn, and/or output_fn "
                f"implementation: there are transform_fn and {', '.join(replaced)}.",
                allowed="transform_fn, or any of input_fn, predict_fn and output_fn",
                do="remove transform_fn, or the functions that it replaces",
            )
        self._input = getattr(module, "input_fn", default_input_fn)
        self._predict = getattr(module, "predict_fn", default_predict_fn)
        self._output = getattr(module, "output_fn", default_output_fn)
        load = getattr(module, "model_fn", default_model_fn)
        self._model = self._call(load, str(model_dir))

    def __call__(self, body: bytes, content_type: str, accept: str, headers: dict[str, str]) -> tuple[bytes, str]:
        """The answer's bytes and content type."""
        self.context.begin(headers)
        data: bytes | str = body.decode("utf-8") if media_type(content_type) in TEXTS else body
        if self._transform:
            result = self._call(self._transform, self._model, data, content_type, accept)
        else:
            prediction = self._call(self._predict, self._call(self._input, data, content_type), self._model)
            result = self._call(self._output, prediction, accept)
        answer_type = accept
        if isinstance(result, tuple):
            result, answer_type = result[:2]  # of more, the toolkit looks at the first two
        answer_type = self.context.content_type or answer_type or accept
        if isinstance(result, bytes | bytearray):
            return bytes(result), answer_type
        return result.encode() if isinstance(result, str) else json_bytes(result), answer_type

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Functions may take the toolkit's context as one argument more."""
        parameters = inspect.signature(function).parameters.values()
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(places) > len(arguments):
            return function(*arguments, self.context)
        return function(*arguments)


def _start_again(model_dir: Path, environment: Path) -> NoReturn:
    """Go on as the Python that has what the code requires; the pipes stay."""
    program = str(overlay.program(environment))
    os.execv(program, [program, "-P", "-m", "vizsla.serving.inference_worker", str(model_dir), str(environment)])


def _module(model_dir: Path, script: str) -> ModuleType:
    """The entry script as a module of the name that other modules in ``code/`` would import it by."""
    code = model_dir / script
    if not code.is_file():
        raise _no_script(model_dir / CODE, code.relative_to(model_dir / CODE))
    sys.path.insert(0, str(model_dir / CODE))
    name = ".".join(code.relative_to(model_dir / CODE).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location("inference" if name in sys.modules else name, code)
    if spec is None or spec.loader is None:
        raise ImportError(f"{code} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _no_script(folder: Path, script: Path) -> ModelError:
    """The error for a SAGEMAKER_PROGRAM that names nothing in ``code/``, or what is not Python there."""
    named = program()
    what, do = f"which is not in the model's {CODE}/", f"correct {PROGRAM}, or pack the script"
    if (folder / named).is_file():
        what, do = "which is not a Python script", f"name a script that ends in .py in {PROGRAM}"
    elif not named.endswith(".py"):
        what = f"which is neither a script nor a module ({script}) in the model's {CODE}/"
    there = sorted(path.name for path in folder.glob("*.py"))
    return ModelError(
        f"{PROGRAM} names {named}, {what}.",
        where=f"{CODE}/{named}",
        allowed=", ".join(there) or "a Python script in the model's code/, such as inference.py",
        do=do,
    )


def _end_with_server(pipe: int) -> None:
    """End this process and all that it has started as soon as the server has gone, whatever the code is doing: nobody
    else would, when the server was killed."""

    def watch() -> None:
        hung_up = select.poll()
        hung_up.register(pipe, 0)  # POLLHUP is always told, also behind bytes that are not read yet (poll(2))
        hung_up.poll()
        _end()

    threading.Thread(target=watch, name="server", daemon=True).start()


def _end() -> NoReturn:
    signal_group(os.getpid(), signal.SIGKILL)
    os._exit(1)  # not the head of a group


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the pipes for ourselves: the code's prints go to stderr, its reads find nothing."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the process ends by SIGKILL: what waits in a buffer is lost
    return requests, answers


def _send(answers: IO[bytes], header: dict[str, Any], content: bytes) -> None:
    answers.write(json.dumps({**header, "size": len(content)}).encode() + b"\n")
    answers.write(content)
    answers.flush()


def _encoded(words: str) -> bytes:
    return words.encode("utf-8", "backslashreplace")[:_PHRASE_BYTES]  # surrogates stand for bytes of a file's name


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), install=sys.argv[3:] == ["install"])
