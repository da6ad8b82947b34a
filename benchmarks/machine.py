"""Which machine a benchmark ran on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        name = next((x.split(":")[1].strip() for x in cpuinfo.read_text().splitlines() if "model name" in x), name)
    able = [key for key in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if torch.cpu.get_capabilities().get(key)]
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} cores, {', '.join(able)}; {versions}"
