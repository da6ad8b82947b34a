"""The API's description: `python -m luthier.server.openapi FILE` writes it."""

import json
import sys
from pathlib import Path

from luthier.config import Settings
from luthier.server.app import create_app


def document() -> str:
    """The OpenAPI document as JSON text, keys sorted, so that a change shows as a small difference."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m luthier.server.openapi docs/openapi.json")
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
