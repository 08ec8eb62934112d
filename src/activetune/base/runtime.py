"""Where and how numbers are computed: device, precision, threads."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from activetune.base.errors import UsageError, first_line
from activetune.base.run import check_precision


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of matrix products on it (``fp32``, ``bf16`` or ``fp16``)."""

    device: torch.device
    precision: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a forward pass runs."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)


DEVICES = ("cpu", "cuda", "mps")


def resolve_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Choose the device (CUDA, then Apple's MPS, then CPU) and the fastest precision that it computes natively.

    Raises:
        UsageError: a device that is not there, or a precision that it can't compute.
    """
    check_precision(precision)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.partition(":")[0] not in DEVICES:
        raise UsageError(f"device {device!r} is not known; allowed: auto, cpu, cuda, cuda:1, mps")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} can't be used here ({first_line(error)}); try cpu") from None
    if precision == "auto":
        precision = _native_precision(chosen)
    if precision == "fp16" and chosen.type == "cpu":
        raise UsageError("fp16 is not for CPUs; use --precision bf16 or fp32")
    return Runtime(chosen, precision)


def _native_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"
    return "fp32"


def usable_cores() -> int:
    """Processor cores that this process may use, which in a container or under a scheduler may be few of many."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_generator(rng: np.random.Generator, device: str | torch.device) -> torch.Generator:
    """A generator of torch's own on a device, seeded by NumPy's."""
    return torch.Generator(device=device).manual_seed(int(rng.integers(2**63)))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw on the processor by a seed: torch's own state is put aside, and is as it was afterwards.

    ``torch.manual_seed`` seeds every device that there might be. That takes 0.1 ms and more where none is used, per
    image of an epoch; and where one is, it would decide what dropout draws next, which with workers it would not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Compute on at most ``threads`` processor threads (-1: as many as there are), in NumPy, scikit-learn and torch."""
    if threads < 1:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> contextlib.AbstractContextManager[object]:
    """The context for thousands of small products in NumPy: handing each to threads costs more than it saves."""
    context: contextlib.AbstractContextManager[object] = _controller().limit(limits=1)
    return context


@functools.cache
def _controller() -> ThreadpoolController:
    """The libraries that NumPy computes with; looking for them takes milliseconds, so it is done once."""
    return ThreadpoolController()


def spent(started: float) -> dict[str, float]:
    """Figures of what was begun then, by ``time.perf_counter``: seconds, and the most memory of this process in MB."""
    return {"seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss)) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
