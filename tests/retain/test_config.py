"""A typing error in a file is an error that names file and field; nothing but our own classes can be named."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from retain.config import build, read, read_yaml, shipped
from retain.errors import ConfigError
from retain.settings import Settings, share_of_memory


class Small(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    days: int = 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dais: 3", "dais"),
        ("days: three", "days"),
        ("days: 3\ndays: 4", "written twice"),
        ("- 1", "mapping"),
        ("days: [", "not valid YAML"),
        ("days: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ],
)
def test_a_wrong_file_names_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read(file, Small)
    assert "small.yaml" in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("use", ["os:system", "subprocess:Popen", "training.models.nothing:Here", "training.contracts:Frame", "training", None])
def test_use_reaches_only_our_configurable_classes(use: str | None) -> None:
    with pytest.raises(ConfigError, match="use"):
        build({"use": use})


def test_settings_come_from_the_environment_and_typos_are_told() -> None:
    assert Settings.read({"RETAIN_PORT": "8080", "HOME": "x"}).port == 8080
    with pytest.raises(ConfigError, match="RETAIN_PROT"):
        Settings.read({"RETAIN_PROT": "8080"})
    with pytest.raises(ConfigError, match="RETAIN_PORT"):
        Settings.read({"RETAIN_PORT": "many"})


def test_sql_takes_a_share_of_what_a_container_may_have(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    free = share_of_memory(limit)
    limit.write_text("max\n")
    assert share_of_memory(limit) == free >= 2.0
    limit.write_text(f"{12 * 2**30}\n")
    assert share_of_memory(limit) == min(free, 3.0)
    limit.write_text(f"{2**30}\n")
    assert share_of_memory(limit) == 2.0
    assert Settings.read({"RETAIN_MEMORY_GB": "0.5"}).memory_gb == 0.5


def test_shipped_configuration_is_found() -> None:
    assert shipped("sources").is_dir()
