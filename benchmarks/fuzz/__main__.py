"""Whatever comes in: bodies, ids and headers bent at random, and no answer is an accident.

    python -m benchmarks.fuzz --workspace DIR [--count 100000] [--sockets 5000] [--seed 7] [--only N]

Each input follows from the seed and its number alone. Most go to the application in this process, as uvicorn would hand them on; each of
them goes through both ways to the routes, the short one and the framework's, and the two must agree. Some go to a service of its own as
bytes on a socket. Nothing may be answered with a status of 500 or above, nothing may wait for ever, every refusal has the one shape of
error, and the names that went in (each carries a mark) stand in no log, no metric and no error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz.inputs import made
from benchmarks.fuzz.ways import in_process, on_sockets
from benchmarks.serving.servers import copied
from retain.workspace import Workspace


def main() -> int:
    """Run, print what came of it, and return 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True, help="published; it is copied, nothing is written to it")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", type=int, default=None, metavar="N", help="one input, printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Workspace.at(copied(Workspace.at(options.workspace), Path(folder)))
        if options.only is not None:
            print(made(options.seed, options.only))
            results = {"in process": in_process(place, 1, options.seed, options.only)}
        else:
            results = {"in process": in_process(place, options.count, options.seed), "on sockets": on_sockets(place, options.sockets, options.seed)}
    for where, found in results.items():
        statuses = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(found.statuses.items()))
        print(f"{where}: {found.sent} inputs, slowest {found.slowest_s:.2f} s, answers {statuses}, {len(found.problems)} wrong")
        for problem in found.problems[:20]:
            print(f"  {problem}")
    return int(any(found.problems for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
