"""One clock and one lock per workspace."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import DataError, LockedError, NotReadyError
from retain.workspace import DEFAULT, State, Workspace, moment, naive, shift_days

ZONES = st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Shanghai"])


def test_the_default_workspace_owns_the_top_level_mlruns(tmp_path: Path) -> None:
    assert Workspace.at().mlruns == Path("mlruns")
    assert Workspace.at(DEFAULT).mlruns == Path("mlruns")
    assert Workspace.at(tmp_path).mlruns == tmp_path / "mlruns"


def test_opening_touches_nothing(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "new")
    assert not workspace.is_filled
    assert not workspace.root.exists()
    with pytest.raises(NotReadyError, match="retain ingest"):
        workspace.state()


def test_the_clock_is_fixed_by_the_source_or_live(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    fixed = datetime(2018, 1, 1, tzinfo=UTC)
    workspace.write_state(State(source="x", as_of=fixed))
    assert workspace.now() == fixed
    workspace.write_state(State(source="x"))
    assert abs(workspace.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_broken_state_is_told(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text('{"sauce": 1}')
    with pytest.raises(DataError, match="workspace.json"):
        Workspace.at(tmp_path).state()


@pytest.mark.fault("B6", "B7")
def test_the_lock_is_held_across_processes_and_freed_by_death(tmp_path: Path) -> None:
    code = "import sys, time\nfrom pathlib import Path\nfrom retain.workspace import Workspace\n"
    code += "with Workspace.at(Path(sys.argv[1])).lock('training'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="training"), Workspace.at(tmp_path).lock("second"):
            pass
        holder.kill()
        holder.wait()
    with Workspace.at(tmp_path).lock("third"):
        pass


@given(st.datetimes(datetime(2001, 1, 1), datetime(2040, 1, 1)), st.integers(-800, 800), ZONES)
def test_days_are_calendar_days_of_the_clock(start: datetime, days: int, zone: str) -> None:
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    moved = shift_days(moment(midnight.isoformat(), zone), days, zone)
    assert naive(moved, zone) == midnight + timedelta(days=days)


def test_dates_are_read_on_the_stored_clock() -> None:
    assert moment("2011-09-10", "Europe/London") == datetime(2011, 9, 9, 23, tzinfo=UTC)
    assert moment("2011-09-10T00:00:00+00:00", "Europe/London") == datetime(2011, 9, 10, tzinfo=UTC)
    with pytest.raises(DataError, match="yesterday"):
        moment("yesterday", "UTC")
