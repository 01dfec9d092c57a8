"""Run the benchmarks one after the other at a size that takes minutes: features against pandas, all lists, decisions in process and over HTTP."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def _step(title: str, *command: str) -> None:
    print(f"\n== {title}\n$ {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, *command], check=True)


def main() -> None:
    """Everything on a simulated shop of 20,000 customers; the online part on 1,000."""
    with tempfile.TemporaryDirectory() as folder:
        _step("lists under a budget", "-m", "benchmarks.budget", "--customers", "200000")
        shop = str(Path(folder) / "shop")
        _step("features: weekly snapshots against vectorised pandas", "-m", "benchmarks.features", "--customers", "20000")
        _step("lists of all customers", "-m", "benchmarks.topk", "--customers", "20000")
        _step("a simulated shop, trained and published", "-m", "retain", "simulate", "--customers", "1000", "--workspace", shop)
        for arguments in (("features", "build"), ("train", "churn"), ("train", "clv"), ("train", "recommend"), ("publish",)):
            _step(" ".join(arguments), "-m", "retain", *arguments, "--workspace", shop)
        _step("one decision, in process and over HTTP", "-m", "benchmarks.online", "--workspace", shop)


if __name__ == "__main__":
    main()
