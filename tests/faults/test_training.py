"""A whole training that is stopped, killed, starved of disk or memory: the champion stands, nothing is left half-written, the next one works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from retain.cli import main
from retain.files import PARTIAL
from retain.workspace import Workspace
from training import promotions
from training.package import champion, folders, load

Happened = Callable[[str], None]
MODELS = ("prevalence", "recency_rule")
"""Two small recipes: what is tried here is the run, not the learning."""
TRIALS = 15
"""Trainings that are told to stop."""


@pytest.fixture
def own(trained: Workspace, tmp_path: Path) -> Workspace:
    """The trained shop, to change."""
    shutil.copytree(trained.root, tmp_path / "own")
    return Workspace.at(tmp_path / "own")


def stands(workspace: Workspace, before: Path | None) -> None:
    """The champion is the one of before and opens; no half model can be seen."""
    promotions.follow(workspace)
    assert champion(workspace, "churn") == before
    for folder in folders(workspace, "churn"):
        load(folder)


TRAIN = "import sys\nfrom retain.cli import main\nsys.exit(main(['train', 'churn', '--quick', '--workspace', sys.argv[1], *sys.argv[2:]]))"


UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.getuid() == 0 else ()
"""Permissions hold for root too, once it may not override them."""


def begun(workspace: Workspace, *more: str, before: str = "", prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A training as a process of its own."""
    told = subprocess.PIPE
    return subprocess.Popen([*prefix, sys.executable, "-c", before + TRAIN, str(workspace.root), *more], stdout=told, stderr=told, text=True)


@contextmanager
def writing(workspace: Workspace) -> Iterator[None]:
    """Wait until a training holds the workspace."""
    lock = workspace.root / ".lock"
    end = time.monotonic() + 120
    while not (lock.is_file() and "retain train" in lock.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    yield


@pytest.mark.slow
@pytest.mark.fault("B2")
def test_told_to_stop_it_stops_soon_and_leaves_nothing(own: Workspace, happened: Happened) -> None:
    def told_after(wait: float, number: int | None) -> tuple[bool, float, int, str]:
        (own.root / ".lock").unlink(missing_ok=True)
        # Whoever runs these tests may have asked for SIGHUP to be ignored (nohup), and a training hears that.
        process = begun(own, before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n")
        with writing(own):
            began = time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait)
        took, ended, told = time.monotonic() - began, process.poll() is not None, time.monotonic()
        if number is not None and not ended:
            process.send_signal(number)
        said = "".join(process.communicate(timeout=60))
        return ended, took if ended else time.monotonic() - told, process.returncode, said

    # Two end by themselves: the moments are shares of what the faster took on this machine.
    for ended, _, status, said in (first := [told_after(300, None) for _ in range(2)]):
        assert (ended, status) == (True, 0), said
    whole = min(took for _, took, _, _ in first)
    before, slowest, stopped, rng = champion(own, "churn"), 0.0, 0, random.Random(2)
    for trial in range(TRIALS):
        # A terminal that is closed is a polite stop too.
        ended, took, status, said = told_after(rng.uniform(0, 0.7) * whole, signal.SIGHUP if trial % 3 == 2 else signal.SIGTERM)
        stands(own, before)
        assert not list(own.root.rglob(f"{PARTIAL}*"))
        if ended:
            assert status == 0, said
            continue
        stopped, slowest = stopped + 1, max(slowest, took)
        assert status == 130, (trial, whole, took, said)
        assert "interrupted" in said
        assert "out of memory" not in said
    assert slowest < 10
    assert stopped >= TRIALS * 2 // 3, "most are stopped and do not end before"
    happened(f"{stopped} trainings told by SIGTERM or SIGHUP at random moments: gone after {slowest:.1f} s at most, exit code 130, nothing left")


@pytest.mark.slow
@pytest.mark.fault("B1")
def test_a_whole_training_killed_at_fifty_points(own: Workspace, happened: Happened) -> None:
    """One process has everything imported and begins a training again and again in copies of itself, which are killed."""
    before = champion(own, "churn")
    code = (
        "import os, random, shutil, signal, sys, time\nfrom pathlib import Path\n"
        "from retain.workspace import Workspace\nfrom training.pipeline import train\n"
        "from training import registry\nfrom features import store\n"
        "workspace, rng = Workspace.at(Path(sys.argv[1])), random.Random(3)\n"
        "def work():\n    train('churn', workspace, models=sys.argv[3:], quick=True)\n"
        "shutil.rmtree(workspace.judgements, ignore_errors=True)\nstart = time.monotonic()\n"
        "if (child := os.fork()) == 0:\n    work(); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\ntook = time.monotonic() - start\nkilled = 0\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    shutil.rmtree(workspace.judgements, ignore_errors=True)\n"
        "    if (child := os.fork()) == 0:\n        work(); os._exit(0)\n"
        "    time.sleep(rng.uniform(0, took))\n    os.kill(child, signal.SIGKILL)\n"
        "    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9\n"
        "print(killed)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(own.root), "50", *MODELS], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25, "most end by the kill and not before it"
    stands(own, champion(own, "churn"))
    assert champion(own, "churn") == before
    assert main(["train", "churn", "--quick", "--models", *MODELS, "--workspace", str(own.root)]) == 0
    assert not list(own.models.rglob(f"{PARTIAL}*"))
    happened(f"{int(done.stdout)} of 50 trainings killed at random moments of their run: the champion stood, the next run succeeded")


@pytest.mark.slow
@pytest.mark.fault("B3")
@pytest.mark.parametrize("limit", [2_000, 60_000, 600_000])
def test_out_of_disk_the_whole_run_is_a_sentence(own: Workspace, limit: int, happened: Happened) -> None:
    shutil.rmtree(own.judgements, ignore_errors=True)
    before = champion(own, "churn")
    limited = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    )
    process = begun(own, "--models", *MODELS, before=limited)
    said = process.communicate(timeout=300)[1]
    # The largest file of such a run is between the last two.
    assert process.returncode == 1 or limit > 60_000, said
    assert process.returncode in (0, 1), said
    assert "Traceback" not in said
    stands(own, before)
    if process.returncode:
        happened(f"no file above {limit} bytes: exit code 1 and a sentence, the champion stood")


@pytest.mark.slow
@pytest.mark.fault("B4")
@pytest.mark.skipif(bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root overrides permissions, and setpriv is not here")
def test_a_place_that_cannot_be_written_is_a_sentence(own: Workspace, happened: Happened) -> None:
    shutil.rmtree(own.judgements, ignore_errors=True)
    before = champion(own, "churn")
    for place in (own.models / "churn", own.judgements):
        place.mkdir(exist_ok=True)
        place.chmod(0o555)
        try:
            process = begun(own, "--models", *MODELS, prefix=UNPRIVILEGED)
            said = process.communicate(timeout=300)[1]
        finally:
            place.chmod(0o755)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        assert "Permission denied" in said
        stands(own, before)
        shutil.rmtree(own.judgements)
    happened("exit code 1, permission denied is told with the place, the champion stood")


@pytest.mark.slow
@pytest.mark.fault("B5")
def test_memory_that_does_not_suffice_is_told_before_and_after(own: Workspace, happened: Happened) -> None:
    shutil.rmtree(own.judgements, ignore_errors=True)
    before = champion(own, "churn")
    # Everything is imported first, and then there is room for hardly more: what fails is the training and not an import.
    limited = (
        "import resource\nimport training.pipeline, training.registry, features.store, lightgbm, pyarrow.parquet\n"
        "from features.repo import layout\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 24 * 2**20, resource.RLIM_INFINITY))\n"
    )
    process = begun(own, before=limited)
    said = process.communicate(timeout=300)[1]
    stands(own, before)
    assert "warning: " in said
    assert "Traceback" not in said
    # Whoever finds no room may abort: the C library for the data of a thread (127), C++ for anything (SIGABRT). The witness speaks then.
    assert process.returncode in (1, 127, -signal.SIGABRT), said
    assert said.count("ran out of memory") == 1, said
    happened("warned with an estimate before, one sentence after, also where a library aborted the process; the champion stood")


ENDED = "training was ended before it could say why; most likely it ran out of memory: 5 customers"
WITNESS = "pid = int(open(f'/proc/self/task/{os.getpid()}/children').read())\n    "
LISTENS = "while not int(open(f'/proc/{pid}/status').read().split('SigIgn:')[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1: time.sleep(0.01)\n    "
ENDS = {
    "os.kill(os.getpid(), signal.SIGKILL)": (-9, ENDED),
    "os.killpg(0, signal.SIGKILL)": (-9, ENDED),
    "os.abort()": (-6, ENDED),
    "os._exit(127)": (127, ENDED),
    f"{WITNESS}{LISTENS}os.kill(pid, signal.SIGTERM)\n    os._exit(127)": (127, ENDED),
    "raise MemoryError": (1, "RetainError: training ran out of memory: 5 customers"),
    "raise RuntimeError('std::bad_alloc')": (1, "RetainError: training ran out of memory: 5 customers"),
    "raise KeyError('other')": (1, ""),
    "raise KeyboardInterrupt": (-2, ""),
    f"{WITNESS}os.kill(pid, signal.SIGSTOP)": (0, ""),
    f"{WITNESS}os.kill(pid, signal.SIGKILL)": (0, ""),
    "pass": (0, ""),
}


@pytest.mark.fault("B5")
@pytest.mark.parametrize("end", ENDS)
def test_whoever_ends_a_training_there_is_at_most_one_sentence_about_memory(end: str, happened: Happened) -> None:
    """The system kills, a library aborts: somebody else says it then, and nobody where it was something else."""
    code = f"import os, signal, time\nfrom training.needs import Need, within\nwith within(Need(5, 1, 1)):\n    {end}\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, start_new_session=True)
    status, sentence = ENDS[end]
    assert done.returncode == status, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("ran out of memory: ") == (1 if sentence else 0)
    happened("killed, aborted or told: one sentence with the estimate; interrupted, failed otherwise or done: none")


@pytest.mark.fault("B5")
def test_who_is_ended_before_the_training_began_is_not_spoken_for(happened: Happened) -> None:
    code = (
        "import os\nfrom training import needs\nneeds._tell = lambda *_: os._exit(3)\n"
        "with needs.within(needs.Need(5, 1, 1)):\n    print('it began', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert "ran out of memory: " not in done.stderr
    happened("ended before it began: nothing about memory")


@pytest.mark.fault("B5")
def test_a_training_goes_on_where_nobody_can_be_asked_to_stand_by(monkeypatch: pytest.MonkeyPatch) -> None:
    from retain.errors import RetainError
    from training.needs import Need, within

    monkeypatch.setenv("PATH", "/nowhere")
    with within(Need(5, 1, 1)):
        pass
    with pytest.raises(RetainError, match="ran out of memory"), within(Need(5, 1, 1)):
        raise MemoryError
    with pytest.raises(KeyError) as told, within(Need(5, 1, 1)):
        raise KeyError("other")
    assert told.value.__context__ is None, "nothing about a shell stands before what happened"


def test_what_is_needed_is_less_than_what_is_free_on_a_machine_that_trains(trained: Workspace) -> None:
    from retain.memory import free_bytes
    from training.needs import need

    found = need(trained.state(), "churn", 40)
    assert found.customers == trained.state().tables["customers"]
    free = free_bytes()
    assert free is None or found.size < free
    assert need(trained.state(), "churn", 10**6).size == need(trained.state(), "churn", 10**7).size, "a frame is bounded"
