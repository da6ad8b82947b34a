"""/health, for operators and load balancers."""

from typing import Literal

from fastapi import APIRouter

import luthier
from luthier.server.wire.base import Answer

router = APIRouter(tags=["Health"])


class Health(Answer):
    status: Literal["ok"] = "ok"
    version: str


@router.get("/health")
async def health() -> Health:
    """Answers as soon as the server takes requests."""
    return Health(version=luthier.__version__)
