"""A trainer of the tiny base."""

from pathlib import Path

import pytest
from training_helpers import Trainer


@pytest.fixture
def trainer(tiny_base: Path, tmp_path: Path) -> Trainer:
    return Trainer(tiny_base, tmp_path)
