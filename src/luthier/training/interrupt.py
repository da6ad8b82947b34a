"""How a run notices that its owner wants it to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_POLL_SECONDS = 0.2


class StopRequestedError(Exception):
    """The owner wants the run to stop; raised wherever it is noticed."""


class Poll:
    """Raises when the owner wants the run to stop. Cheap: asks at most a few times a second.

    Args:
        should_stop: the owner's wish.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._polled_at = 0.0

    def __call__(self) -> None:
        """
        Raises:
            StopRequestedError: the run is to stop.
        """
        now = time.monotonic()
        if now - self._polled_at >= _POLL_SECONDS:
            self._polled_at = now
            if self._should_stop():
                raise StopRequestedError


@contextmanager
def polled_layers(model: nn.Module, poll: Callable[[], None]) -> Iterator[None]:
    """Poll before each layer, forward and backward: a micro-batch may take longer than a cancel may."""

    def before(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        poll()
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(lambda _gradient: poll())  # type: ignore[no-untyped-call]

    layers: Any = model.layers
    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
