"""What is on the disk after any death can be read, and nothing half-written is taken for whole."""

from pathlib import Path

import pytest
import torch

from luthier.durable import whole_folder
from luthier.training.checkpoint import Checkpoints, RunState
from luthier.training.progress import ResultRow


def state(steps: int, fingerprint: str = "a run") -> RunState:
    rows = [ResultRow(n, 10 * n, n, 0.5, 1.0, 1.0, classification={"f1.0": 0.25}) for n in range(1, steps + 1)]
    return RunState(fingerprint, rows)


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"master.w": torch.full((3,), value), "step.w": torch.tensor(value)}


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for step in (1, 9, 10):
        checkpoints.save(state(step), tensors(step))
    found = checkpoints.newest()
    assert found is not None
    assert found[0] == state(10)
    assert {name: value.tolist() for name, value in found[1].items()} == {"master.w": [10.0] * 3, "step.w": 10.0}


def test_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 6):
        checkpoints.save(state(step), tensors(step))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, name: str, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), tensors(1))
    file = checkpoints.save(state(2), tensors(2)) / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-5])
    found = checkpoints.newest()
    assert found is not None
    assert found[0].step == 1


def test_a_half_written_one_does_not_bear_the_name(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)

    def write_half() -> None:
        with whole_folder(tmp_path / "checkpoints" / "step-00000007") as folder:
            (folder / "state.json").write_text("{")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk"):
        write_half()
    assert checkpoints.newest() is None
    checkpoints.save(state(7), tensors(7))
    found = checkpoints.newest()
    assert found is not None
    assert found[0].step == 7


def test_all_are_cleared(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), tensors(1))
    checkpoints.clear()
    assert checkpoints.newest() is None


def test_an_epoch_that_is_written_again_replaces_the_first(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for text in ("first", "second"):
        folder = checkpoints.save_epoch(1, lambda path, text=text: (path / "weights").write_text(text))
    assert (folder / "weights").read_text() == "second"
    assert [model.folder for model in checkpoints.epoch_models(1, 5)] == [folder]
    assert [model.step for model in checkpoints.epoch_models(1, 5)] == [5]
