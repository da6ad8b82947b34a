"""Fine-tuning time, memory and accuracy beside TRL's SFTTrainer with PEFT LoRA.

Each side trains in a process of its own, one after the other, on the same base, rows, batch, rank, learning rate and
epochs; TRL in float32 and in bfloat16 (its default has changed between versions). Accuracy is that of the labels'
log probabilities on held-out rows, computed by Luthier for all three adapters.

    python benchmarks/train_vs_trl.py [--rows 64] [--epochs 2] [--train FILE --valid FILE] [--trl-python PYTHON]

Luthier's side runs in the environment that its server gives a trainer (the allocator's settings, threads that wait
a moment and sleep then), TRL's in that of a user who starts it; `--same-environment` gives TRL those settings too.

Without files the rows are scikit-learn's newsgroups on baseball and hockey (kept in its cache; downloaded if absent).
Rows of more than 1,024 tokens are left out: TRL would cut off their answers. TRL runs in an environment of its own,
made once in `--trl-env` unless `--trl-python` names an interpreter that has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from machine import machine

TRL_PACKAGES = ("torch==2.13.0", "trl", "peft")
MAX_TOKENS = 1024
SIDES = ("luthier", "trl float32", "trl bfloat16")
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    options = parse()
    if options.side:
        run_side(options)
        return
    if options.work and options.work.exists() and any(options.work.iterdir()):
        sys.exit(f"{options.work} is not empty: a run found there would be gone on with. Name a new folder.")
    with tempfile.TemporaryDirectory(prefix="luthier-bench-", ignore_cleanup_errors=True) as made:
        work = options.work or Path(made)
        prepare(options, work)
        interpreters = dict.fromkeys(SIDES, options.trl_python or trl_python(options.trl_env))
        interpreters["luthier"] = Path(sys.executable)
        chosen = [side for side in SIDES if side.startswith(tuple(options.sides))]
        results = {
            side: run_apart(interpreters[side], side, work, ours=side == "luthier" or options.same_environment)
            for side in chosen
        }
        for side, result in results.items():
            result["accuracy"] = run_apart(Path(sys.executable), f"score {side}", work, ours=True)["accuracy"]
        report(json.loads((work / "plan.json").read_text()), results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64, help="training rows; 0 takes all")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--train", type=Path, help="JSONL of prompts and completions")
    parser.add_argument("--valid", type=Path)
    parser.add_argument("--base", type=Path, help="a base's folder; by default ada, pulled if needed")
    parser.add_argument("--trl-python", type=Path, help="an interpreter that has trl and peft")
    parser.add_argument("--trl-env", type=Path, default=Path(tempfile.gettempdir()) / "luthier-trl")
    parser.add_argument(
        "--sides", nargs="+", default=["luthier", "trl"], help="leave sides out: luthier, 'trl bfloat16'"
    )
    parser.add_argument(
        "--trl-recompute",
        action="store_true",
        help="let TRL compute layers a second time instead of keeping them: slower, less memory",
    )
    parser.add_argument("--same-environment", action="store_true", help="TRL gets Luthier's environment variables")
    parser.add_argument("--work", type=Path, help="keep the adapters and logs here, in a new folder")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # what a process of its own is to do
    return parser.parse_args()


def prepare(options: argparse.Namespace, work: Path) -> None:
    """Write the rows and the plan that every side follows."""
    from luthier.catalogue.registry import Registry
    from luthier.config import load_settings
    from luthier.domain.hyperparameters import Method
    from luthier.modeling.bases import BaseStore
    from luthier.modeling.tokenizer import HFTokenizer
    from luthier.training.defaults import LORA_SCALE, WARMUP_SHARE, automatic_multiplier

    settings = load_settings()
    base = options.base or BaseStore(settings).ensure("ada").path
    rate = Registry.load(settings).resolve("ada").entry.learning_rate[Method.LORA]
    tokenizer = HFTokenizer(base)
    train, valid = given(options) if options.train else newsgroups()
    lengths = {}
    work.mkdir(parents=True, exist_ok=True)
    for name, rows, limit in (("train", train, options.rows), ("valid", valid, 0)):
        sizes = [len(tokenizer.encode(row["prompt"])) + len(tokenizer.encode(row["completion"])) for row in rows]
        kept = [(row, size) for row, size in zip(rows, sizes, strict=True) if size <= MAX_TOKENS][: limit or None]
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in kept), encoding="utf-8")
        lengths[name] = [size for _, size in kept]
    plan = {
        "base": str(base),
        "rows": len(lengths["train"]),
        "valid_rows": len(lengths["valid"]),
        "tokens": sum(lengths["train"]) * options.epochs,
        "epochs": options.epochs,
        "batch": options.batch,
        "rank": options.rank,
        "alpha": LORA_SCALE * options.rank,
        "learning_rate": rate * automatic_multiplier(options.batch),
        "warmup": WARMUP_SHARE,
        "trl_recompute": options.trl_recompute,
    }
    (work / "plan.json").write_text(json.dumps(plan))


def given(options: argparse.Namespace) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    train, valid = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (options.train, options.valid)
    )
    return train, valid


def newsgroups() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The first 300 posts on baseball or hockey, a fifth of them held out."""
    from sklearn.datasets import fetch_20newsgroups

    data = fetch_20newsgroups(
        subset="train", shuffle=True, random_state=42, categories=["rec.sport.baseball", "rec.sport.hockey"]
    )
    rows = [
        {"prompt": text.strip() + "\n\n###\n\n", "completion": " " + data.target_names[target].split(".")[-1]}
        for text, target in zip(data.data[:300], data.target[:300], strict=True)
    ]
    return rows[:240], rows[240:]


def trl_python(folder: Path) -> Path:
    """The interpreter of an environment with TRL, which is made if need be."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        print(f"Installing {', '.join(TRL_PACKAGES)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TRL_PACKAGES], check=True)
        (folder / "complete").touch()
    return python


def run_apart(python: Path, side: str, work: Path, *, ours: bool) -> dict[str, Any]:
    """Run one side in a process of its own, with `ours` in the environment of a trainer; what it reports."""
    environment = dict(os.environ)
    if ours:
        from luthier.config import load_settings
        from luthier.executors.environment import worker_environment

        environment = worker_environment(load_settings(), environment)
    print(f"{side} …", file=sys.stderr, flush=True)
    log = work / f"{side}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [python, __file__, "--side", side, "--work", work], env=environment, stdout=output, stderr=output
        )
    if done.returncode:
        sys.exit(f"{side} ended with exit code {done.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    result: dict[str, Any] = json.loads((work / f"{side}.json").read_text())
    return result


def run_side(options: argparse.Namespace) -> None:
    """In a process of its own: train or score, and write the result beside the log."""
    work, side = options.work, options.side
    plan = json.loads((work / "plan.json").read_text())
    if side.startswith("score "):
        result = score(plan, work, work / side.removeprefix("score "))
    elif side == "luthier":
        result = train_luthier(plan, work)
    else:
        result = train_trl(plan, work, side)
    (work / f"{side}.json").write_text(json.dumps(result))


def train_luthier(plan: dict[str, Any], work: Path) -> dict[str, Any]:
    import shutil

    from luthier.config import load_settings
    from luthier.datasets.training_file import read_examples
    from luthier.domain.hyperparameters import Hyperparameters
    from luthier.modeling.loader import compute_dtype, load_base
    from luthier.training import defaults
    from luthier.training.loop import train

    base = load_base(Path(plan["base"]), compute_dtype())
    examples = read_examples(work / "train.jsonl", base.tokenizer, base.context_length)
    asked = Hyperparameters(
        n_epochs=plan["epochs"], batch_size=plan["batch"], lora_rank=plan["rank"], learning_rate_multiplier=1.0
    )
    hp = defaults.resolve(asked, n_examples=len(examples))
    settings = load_settings()
    start = time.monotonic()
    result = train(
        base,
        examples,
        [],
        hp,
        run_dir=work / "run",
        base_rate=plan["learning_rate"],
        emit=lambda _progress: None,
        should_stop=lambda: False,
        micro_batch_tokens=settings.train_tokens,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    measured = measure(start)
    assert result.folder is not None
    shutil.copytree(result.folder, work / "luthier")
    return measured


def train_trl(plan: dict[str, Any], work: Path, side: str) -> dict[str, Any]:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    narrow = side == "trl bfloat16"
    model = AutoModelForCausalLM.from_pretrained(plan["base"], dtype=torch.bfloat16 if narrow else torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(plan["base"])
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.eos_token
    config = SFTConfig(
        output_dir=str(work / f"{side} run"),
        num_train_epochs=plan["epochs"],
        per_device_train_batch_size=plan["batch"],
        learning_rate=plan["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=plan["warmup"],  # a number below 1 is a share of the steps
        max_length=MAX_TOKENS,
        bf16=narrow,
        use_cpu=True,
        gradient_checkpointing=plan["trl_recompute"],
        save_strategy="no",
        report_to="none",
        seed=0,
    )
    lora = LoraConfig(r=plan["rank"], lora_alpha=plan["alpha"], target_modules=TARGETS, task_type="CAUSAL_LM")
    rows = load_dataset("json", data_files=str(work / "train.jsonl"), split="train")
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    start = time.monotonic()
    trainer.train()
    measured = measure(start)
    trainer.model.save_pretrained(work / side)
    return measured


def measure(start: float) -> dict[str, Any]:
    """Seconds since `start`, and the most memory that this process has had, bytes."""
    import resource  # not on Windows, where neither is this figure

    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": time.monotonic() - start,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def score(plan: dict[str, Any], work: Path, adapter: Path) -> dict[str, Any]:
    """Share of held-out rows whose right label is the most probable one."""
    from dataclasses import replace

    from luthier.config import load_settings
    from luthier.datasets.training_file import read_examples
    from luthier.domain.hyperparameters import Hyperparameters
    from luthier.modeling.loader import compute_dtype, load_base
    from luthier.training import defaults
    from luthier.training.evaluate import evaluate
    from luthier.training.interrupt import Poll
    from luthier.training.metrics import find_classes
    from luthier.training.passes import Passes
    from luthier.training.weights import tuned_weights

    base = load_base(Path(plan["base"]), compute_dtype())
    train, valid = (
        read_examples(work / f"{name}.jsonl", base.tokenizer, base.context_length) for name in ("train", "valid")
    )
    labels = {example.completion for example in [*train, *valid]}
    hp = defaults.resolve(Hyperparameters(lora_rank=plan["rank"]), n_examples=len(train))
    hp = replace(hp, compute_classification_metrics=True, classification_n_classes=len(labels))
    passes = Passes(base, tuned_weights(base, hp, adapter), load_settings().train_tokens, Poll(lambda: False))
    found = evaluate(passes, valid, find_classes(train, valid, hp), prompt_weight=0.0)
    return {"accuracy": found.classification["accuracy"]}


def report(plan: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    print(f"Machine: {machine()}")
    print(
        f"{plan['rows']} rows, {plan['epochs']} epochs, {plan['tokens']:,} tokens, batch {plan['batch']}, LoRA rank "
        f"{plan['rank']} on all linear layers (here on the token embedding too), rate {plan['learning_rate']:g}; "
        f"{plan['valid_rows']} rows held out"
    )
    print(f"\n{'':14}{'seconds':>9}{'tokens/s':>10}{'peak GB':>9}{'accuracy':>10}{'Luthier is':>14}")
    for side, result in results.items():
        result["tokens_per_second"] = plan["tokens"] / result["seconds"]
        times = result["seconds"] / results["luthier"]["seconds"] if "luthier" in results else float("nan")
        result["ratio"] = times
        print(
            f"{side:14}{result['seconds']:9.0f}{result['tokens_per_second']:10.0f}{result['peak_bytes'] / 1e9:9.1f}"
            f"{result['accuracy']:10.3f}" + ("" if side == "luthier" else f"{times:8.1f} times as fast")
        )
    print()
    print(json.dumps({"benchmark": "train_vs_trl", "machine": machine(), "plan": plan, "results": results}))


if __name__ == "__main__":
    main()
