"""What a run writes to the disk so that it can go on after any death, and the model of each epoch.

    run_dir/
      checkpoints/step-000120/   state.json, state.safetensors: all that the next step depends on
      epochs/epoch-1/            the model as it is served: a PEFT adapter or whole weights

A folder is written under another name, brought to the disk and then renamed: what bears its name is whole.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.durable import whole_folder
from luthier.training.progress import EpochModel, ResultRow

_KEPT = 2  # checkpoints; an older one is there in case the newest is damaged
_STATE, _TENSORS = "state.json", "state.safetensors"


@dataclass
class RunState:
    """How far a run has come.

    Args:
        fingerprint: what the run is: a checkpoint of another one is not gone on with.
        rows: one for each step done.
    """

    fingerprint: str
    rows: list[ResultRow] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.rows)

    @property
    def elapsed_tokens(self) -> int:
        return self.rows[-1].elapsed_tokens if self.rows else 0

    @property
    def elapsed_examples(self) -> int:
        return self.rows[-1].elapsed_examples if self.rows else 0


class Checkpoints:
    """The checkpoints and epoch models of one run folder, which belongs to one process at a time."""

    def __init__(self, run_dir: Path) -> None:
        self._checkpoints, self._epochs = run_dir / "checkpoints", run_dir / "epochs"

    def save(self, state: RunState, tensors: Mapping[str, torch.Tensor]) -> Path:
        """Bring a state to the disk, then drop all but the newest two."""
        path = self._checkpoints / f"step-{state.step:08d}"
        with whole_folder(path) as folder:
            save_file({name: value.detach().contiguous() for name, value in tensors.items()}, folder / _TENSORS)
            (folder / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
        for old in self._found()[_KEPT:]:
            shutil.rmtree(old)
        return path

    def newest(self) -> tuple[RunState, dict[str, torch.Tensor]] | None:
        """The last state that can be read, None when there is none."""
        for path in self._found():
            try:
                card = json.loads((path / _STATE).read_text(encoding="utf-8"))
                tensors = load_file(path / _TENSORS)
                state = RunState(card["fingerprint"], [ResultRow(**row) for row in card["rows"]])
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue  # damaged: an older one may be whole
            return state, tensors
        return None

    def clear(self) -> None:
        """Forget all states."""
        for path in self._found():
            shutil.rmtree(path)

    def save_epoch(self, epoch: int, write: Callable[[Path], None]) -> Path:
        """Keep the model of an epoch's end; `write` fills the folder it is given."""
        path = self.epoch_folder(epoch)
        with whole_folder(path) as folder:
            write(folder)
        return path

    def epoch_folder(self, epoch: int) -> Path:
        return self._epochs / f"epoch-{epoch}"

    def epoch_models(self, epochs_done: int, steps_per_epoch: int) -> list[EpochModel]:
        """The models of the epochs that a run has finished."""
        return [
            EpochModel(epoch, epoch * steps_per_epoch, self.epoch_folder(epoch)) for epoch in range(1, epochs_done + 1)
        ]

    def _found(self) -> list[Path]:
        """Checkpoints, newest first."""
        return sorted(self._checkpoints.glob("step-*"), reverse=True)
