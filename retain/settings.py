"""What a deployment decides, read from the environment; nothing else in the project reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from retain.errors import ConfigError

PREFIX = "RETAIN_"


class Settings(BaseModel):
    """Deployment settings. Each field is the environment variable RETAIN_<NAME>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Path = Path("var")
    """Where run-time state lies, when --workspace does not say."""
    threads: int = Field(default=2, ge=1)
    """Threads of SQL and training. One row is always scored with one."""
    memory_gb: float = Field(default_factory=lambda: share_of_memory(), gt=0)
    """What SQL may keep in memory before it spills to the workspace: a quarter of what there is, 2 at least; joins cannot spill everything."""
    host: str = "127.0.0.1"
    """Address to serve on; only loopback is accepted until there are API keys."""
    port: int = Field(default=3000, ge=0, le=65535)
    sync_ms: float = Field(default=40.0, gt=0, le=1000)
    """A decision is answered once it is written; a sync to disk begins at most so long after. Outcomes wait for theirs."""
    hosts: str = ""
    """Names under which callers may reach the service, with commas between them; besides loopback and the address that it listens on."""
    signing_key: SecretStr = SecretStr("")
    """What signs models and rows: an ed25519 key, 64 hexadecimal digits. Only who trains or publishes needs it."""
    verify_key: str = ""
    """Its public half; where it (or the other) is said, what is unsigned or signed by another is refused."""
    redis: SecretStr = SecretStr("")
    """Through which several machines of one shop tell each other what they decided and heard: ``redis[s]://[[user]:password@]host[:port][/database]``,
    or ``unix:///path``. Where it is not said, there is one machine."""
    tombstones: Path | None = None
    """Folder of the tombstones of erased customers, where no restore reaches it; within the workspace where it is not said."""

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from the environment.

        Raises:
            ConfigError: a RETAIN_ variable is unknown or its value cannot be.
        """
        source = os.environ if environment is None else environment
        values = {key[len(PREFIX) :].lower(): value for key, value in source.items() if key.startswith(PREFIX)}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise ConfigError(f"environment variable {name}: {first['msg'].lower()}; see retain/settings.py", field=name) from error


def share_of_memory(limit: Path = Path("/sys/fs/cgroup/memory.max"), share: float = 0.25, least_gb: float = 2.0) -> float:
    """Gigabytes that one program may well take: a share of the machine's memory, or of the container's where that is less.

    Args:
        limit: where the kernel says how much a container may have; absent outside of one.
        share: of it.
        least_gb: what is taken even where there is little.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = limit.read_text().strip() if limit.is_file() else ""
    return max(share * min(there, int(said) if said.isdecimal() else there) / 2**30, least_gb)


def inherited(**changes: str) -> dict[str, str]:
    """The environment for a child process: ours, with changes."""
    return {**os.environ, **changes}
