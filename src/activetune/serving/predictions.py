"""``activetune serve``: a model behind HTTP on this machine; an image comes in, what the model says of it goes out.

| request | response |
|---|---|
| ``POST /predict``, the bytes of an image | an object as ``predict`` streams it, ``{"id", "label", "probability"}`` |
| ``POST /predict``, ``multipart/form-data`` with files | ``{"predictions": [such an object per file]}`` |
| ``GET /model``, ``GET /`` | task, classes, input size, and which model it is |
| ``GET /health`` | ``{"status": "ok"}``, without the token |

An image that can't be used is answered with 400, one that is too large with 413, and a sentence; among several files it
has ``error`` in its own object. Requests that come while the network computes share its next batch.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from activetune import __version__
from activetune.base.errors import ActivetuneError, RejectedImage, UsageError
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.memory import Portions
from activetune.base.run import NO_CHANCE, Idle, Run, RunOptions
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.data.images import MAX_PIXELS, decode_image
from activetune.evaluation.model import Model, Prepare, checked, load
from activetune.serving.answering import refusals, refuse_others
from activetune.serving.guards import MAX_BODY, Guards, new_token
from activetune.serving.listening import PATIENCE, address, bind, run_server

KEEPS_NOTHING = Idle("keeps nothing on disk")
OWN_PROCESS = Idle("answers in one process", (0, 1))
FILES = 64  # of one request
DECODERS = 4  # images that are decoded at a time
ADVICE = {
    400: f"send the bytes of one image, or a form of at most {FILES} files with its boundary, as curl -F makes one",
    404: "there are POST /predict, GET /model and GET /health",
    405: "images are sent by POST /predict",
}
for _name in ("multipart", "python_multipart"):
    logging.getLogger(_name).addHandler(logging.NullHandler())  # it logs what is wrong before it raises

Record = dict[str, Any]


@dataclass(frozen=True)
class Ready:
    """An image as the network takes it, uint8 (3, H, W), and its own height and width."""

    pixels: torch.Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Predictor:
    """A model that answers images of any kind, as the evaluation prepares them.

    Attributes:
        max_pixels: of an image as its file declares it.
    """

    model: Model
    runtime: Runtime
    max_pixels: int

    def prepare(self, encoded: bytes) -> Ready:
        """Decode an image file.

        Raises:
            RejectedImage: it can't be used; the message is the reason.
        """
        prepare = Prepare(self.model.task, self.model.backbone.settings)
        image = decode_image(encoded, about=prepare.enough, max_pixels=self.max_pixels)
        return Ready(prepare(image), (image.height, image.width))

    def answer(self, images: Sequence[Ready]) -> list[Any]:
        """The answers to a batch.

        Raises:
            ActivetuneError: the outputs are not finite.
        """
        portions = Portions(self.runtime.device, quiet=True)
        answered = portions.of(len(images), lambda part: self._answer(images[part]))
        return [answer for _, answers in answered for answer in answers]

    def _answer(self, images: Sequence[Ready]) -> Sequence[Any]:
        model = self.model
        pixels = torch.stack([one.pixels for one in images]).to(self.runtime.device)
        with torch.inference_mode(), self.runtime.autocast():
            outputs = model.network(pixels)
        sizes = [one.size for one in images]
        return model.task.answers(checked(outputs, self.runtime), sizes, model.backbone.settings, model.classes)


@dataclass
class Batches:
    """Images of several requests go through the network together: one batch at a time, of all that wait.

    Attributes:
        answer: answers a batch; it is called in a thread. most: images of a batch.
    """

    answer: Callable[[Sequence[Ready]], Sequence[Any]]
    most: int = 32
    waiting: list[tuple[Ready, asyncio.Future[Any]]] = field(default_factory=list)
    working: asyncio.Task[None] | None = None

    async def ask(self, image: Ready) -> Any:
        """The answer to an image; what answering its batch raises, each of its images raises."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((image, future))
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting[: self.most], self.waiting[self.most :]
            try:
                answers = await run_in_threadpool(self.answer, [image for image, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():  # the one who asked may have gone
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def serve(
    model: Model | str | os.PathLike[str],
    *,
    port: int = 0,
    max_body: int = MAX_BODY,
    max_pixels: int = MAX_PIXELS,
    **run_options: Unpack[RunOptions],
) -> None:
    """Answer images over HTTP on 127.0.0.1 until a signal ends it; the address is the first line on stdout.

    >>> activetune.serve("model", port=8000)  # until Ctrl-C  # doctest: +SKIP
    http://127.0.0.1:8000/?token=…

    Each request but ``GET /health`` gives the token of this run, in the header ``X-Token``; a GET may give it in the
    address, as ``?token=…``.

    Args:
        model: a model, or a folder of ``finetune``.
        port: 0 takes a free one.
        max_body: bytes of a request. max_pixels: of an image as its file declares it, at most 89 million.
        run_options: see :class:`activetune.RunOptions`: ``device``, ``precision`` and ``quiet``.

    Raises:
        UsageError: no finished model, or a port that is taken.
    """
    idle = {"workers": OWN_PROCESS, "overwrite": KEEPS_NOTHING, "resume": KEEPS_NOTHING}
    run = Run.of("serve", run_options, seed=NO_CHANCE, **idle)
    if not (max_body > 0 and 0 < max_pixels <= MAX_PIXELS):
        raise UsageError(f"max_body must be 1 byte or more, and max_pixels between 1 and {MAX_PIXELS:,}")
    runtime = resolve_runtime(run.device, run.precision)
    model = model if isinstance(model, Model) else load(model)
    model.network.to(runtime.device).eval()
    token = new_token()
    app = application(Predictor(model, runtime, max_pixels), token, max_body=max_body)
    listener = bind(port)
    raise_if_interrupted()
    kept = f"requests that had begun were answered, save those that took longer than {PATIENCE} seconds"
    run_server(app, listener, address(listener, token), kept=kept)


def application(predictor: Predictor, token: str, *, max_body: int = MAX_BODY) -> Starlette:
    """The endpoint, behind the guards, as an ASGI application."""
    batches, decoders = Batches(predictor.answer), asyncio.Semaphore(DECODERS)
    form = predictor.model.task.form(predictor.model.classes)

    async def record(item: str, encoded: bytes) -> Record:
        async with decoders:
            ready = await run_in_threadpool(predictor.prepare, encoded)
        return form.record(item, await batches.ask(ready))

    async def predict(request: Request) -> JSONResponse:
        refuse_others(request, "id")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
            if "id" in request.query_params:
                raise UsageError("the files of a form are told apart by their own names; leave the parameter id out")
            return await _several(request, record)
        try:
            return JSONResponse(await record(request.query_params.get("id", ""), await request.body()))
        except RejectedImage as error:
            return JSONResponse({"error": str(error)}, _status_of(error))

    about = _about(predictor)

    async def told(request: Request) -> JSONResponse:
        refuse_others(request)
        return JSONResponse(about)

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    routes = [
        Route("/", _explained(told)),
        Route("/model", _explained(told)),
        Route("/health", health),
        Route("/predict", _explained(predict), methods=["POST"]),
    ]
    guards = Middleware(Guards, token=token, open_paths=("/health",), max_body=max_body)
    return Starlette(routes=routes, middleware=[guards], exception_handlers=refusals(ADVICE))


async def _several(request: Request, record: Callable[[str, bytes], Awaitable[Record]]) -> JSONResponse:
    """The answers to the files of a form."""
    async with request.form(max_files=FILES, max_fields=FILES) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        named = [(file.filename or "", await file.read()) for file in files]
    if not named:
        return JSONResponse({"error": "the form holds no file; send one or more images as files"}, 400)

    async def one(item: str, encoded: bytes) -> Record:
        try:
            return await record(item, encoded)
        except RejectedImage as error:
            return {"id": item, "error": str(error)}

    found = await asyncio.gather(*(one(*pair) for pair in named))
    errors = [told["error"] for told in found if "error" in told]
    if len(errors) == len(found):
        reason = (
            errors[0] if len(errors) == 1 else f"none of the {len(errors):,} images can be used; the first: {errors[0]}"
        )
        return JSONResponse({"error": reason, "predictions": found}, 400)
    return JSONResponse({"predictions": found})


def _status_of(error: RejectedImage) -> int:
    return 413 if str(error).startswith("oversized") else 400


def _explained(endpoint: Callable[[Request], Awaitable[JSONResponse]]) -> Callable[[Request], Awaitable[JSONResponse]]:
    """The endpoint with every failure as a sentence: no traceback goes to the screen or to the one who asked."""

    async def answered(request: Request) -> JSONResponse:
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except MemoryError:
            return JSONResponse({"error": "not enough memory for this image; send a smaller one"}, 507)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ActivetuneError as error:
            return JSONResponse({"error": str(error)}, 500)
        except Exception as error:
            told = f"unexpected {type(error).__name__} (this is a defect of activetune)"
            return JSONResponse({"error": told}, 500)

    return answered


def _about(predictor: Predictor) -> Record:
    """What ``GET /model`` tells."""
    model = predictor.model
    return {
        "task": model.task.name,
        "classes": list(model.classes),
        "backbone": model.backbone.origin,
        "head": model.network.head().kind,
        "recipe": model.config.get("recipe"),
        "image": model.backbone.settings.as_dict(),
        "fingerprint": model.fingerprint,
        "device": str(predictor.runtime.device),
        "precision": predictor.runtime.precision,
        "max_pixels": predictor.max_pixels,
        "activetune": __version__,
    }
