"""What a loaded base promises, and what is told when a folder is none."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import WeightsError
from luthier.modeling import loader
from luthier.modeling.attention import PackedCausal
from luthier.modeling.loader import compute_dtype, load_base


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_is_frozen_and_in_evaluation_mode(tiny_base: Path, dtype: torch.dtype) -> None:
    base = load_base(tiny_base, dtype)
    assert not base.model.training
    assert {(p.dtype, p.requires_grad) for p in base.model.parameters()} == {(dtype, False)}
    assert (base.dtype, base.name, base.context_length) == (dtype, "tiny", 512)
    assert base.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_nothing_is_printed(tiny_base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(tiny_base, torch.float32)
    assert capfd.readouterr() == ("", "")


def test_the_context_is_capped(copy: Path) -> None:
    edit_config(copy, max_position_embeddings=10_000_000)
    assert load_base(copy, torch.float32).context_length == loader.MAX_CONTEXT


def test_computing_needs_hardware_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for capabilities, expected in [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
    ]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert compute_dtype() == expected


def test_a_folder_without_a_configuration_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_base(tmp_path, torch.float32)


def test_weights_that_lack_a_tensor_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 tensors .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load_base(copy, torch.float32)


@pytest.mark.parametrize("change", [{"model_type": "nobody_knows"}, {"hidden_size": 64}])
def test_a_configuration_that_does_not_fit_is_told(copy: Path, change: dict[str, object]) -> None:
    edit_config(copy, **change)
    with pytest.raises(WeightsError, match=r"cannot be loaded|lack"):
        load_base(copy, torch.float32)


def test_damaged_weights_are_told(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_base(copy, torch.float32)


def test_the_folders_own_code_is_never_run(copy: Path, tmp_path: Path) -> None:
    trap = tmp_path / "it_ran"
    (copy / "trap.py").write_text(f"open({str(trap)!r}, 'w')")
    edit_config(copy, model_type="trap", auto_map={"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"})
    with pytest.raises(WeightsError):
        load_base(copy, torch.float32)
    assert not trap.exists()


def test_a_model_that_scales_its_logits_is_refused(copy: Path) -> None:
    edit_config(copy, model_type="granite", architectures=["GraniteForCausalLM"], logits_scaling=8.0)
    with pytest.raises(WeightsError, match="scales, caps or shifts its logits"):
        load_base(copy, torch.float32)


def test_the_tiny_bases_most_likely_tokens_are_no_near_ties(tiny_base: Path) -> None:
    base = load_base(tiny_base, torch.float32)
    ids = list(b"some text to look at")
    layout = PackedCausal([len(ids)])
    with torch.no_grad():
        logits = base.model(
            input_ids=torch.tensor([ids]), position_ids=layout.position_ids(), layout=layout, use_cache=False
        ).logits[0]  # (T, V)
    best = logits.topk(2).values  # (T, 2)
    assert (best[:, 0] - best[:, 1]).min() > 1e-3
    assert logits.argmax(-1).unique().numel() > len(ids) // 2


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
