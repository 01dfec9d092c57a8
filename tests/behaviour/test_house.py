"""What the house must not have in it: mostly absences."""

import ast
import contextlib
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("retain", "features", "training", "serving", "experiments")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
DOORS = {
    "feast": {"features/store.py", *(f"features/repo/{name}.py" for name in ("definitions", "layout", "objects", "online"))},
    "mlflow": {"training/registry.py"},
    "bentoml": {"serving/service.py"},
}
HOT = {f"serving/{name}.py" for name in ("answers", "basis", "desk", "fresh", "journal", "ledger", "rows", "wire")}
"""What every decision passes through, besides the rules (``serving/decisions``)."""
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CLOCKS = re.compile(r"\b(datetime\.now|datetime\.utcnow|datetime\.today|date\.today|time\.time|Timestamp\.now|time\.localtime)\(")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_library_has_one_door(name: str) -> None:
    imported = set(_imports(ROOT / name))
    for library, doors in DOORS.items():
        assert library not in imported or name in doors, f"{name} imports {library}; its door is {sorted(doors)[0]}"


@pytest.mark.parametrize("name", [name for name in NAMES if name in HOT or name.startswith("serving/decisions/")])
def test_no_call_of_a_decision_gives_more_by_name_than_python_hands_over_as_it_is(name: str) -> None:
    # Beyond fifteen names the interpreter makes a dictionary of them for each call: four times the price of the whole object.
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert len(node.args) + 2 * len(node.keywords) <= 30, f"{name}:{node.lineno} gives so much by name; give the first by their place"


@pytest.mark.fault("B14")
@pytest.mark.parametrize("name", [*NAMES, *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "tests").rglob("*.py")))])
def test_nothing_pickles(name: str) -> None:
    assert not PICKLES & set(_imports(ROOT / name))
    source = (ROOT / name).read_text(encoding="utf-8")
    assert "allow_pickle=" + "True" not in source
    assert "yaml.unsafe" + "_load" not in source


@pytest.mark.parametrize("name", NAMES)
def test_clock_and_environment_are_read_in_one_place(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    if name != "retain/workspace.py":
        assert not CLOCKS.search(source), f"{name} reads a clock of its own; ask Workspace.now()"
    if name != "retain/settings.py":
        assert not re.search(r"os\.(environ\b(?!\.setdefault)(?!\[)|getenv)", source), f"{name} reads the environment; retain/settings.py does"


@pytest.mark.parametrize("name", NAMES)
def test_every_module_says_what_is_decided_in_it(name: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8")))


@pytest.mark.fault("E14")
def test_every_direct_dependency_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    assert not [line for line in everything if ">=" not in line]


@pytest.mark.fault("E14")
@pytest.mark.parametrize(
    ("library", "floor", "why"),
    [
        ("bentoml", "1.4.39", "pickle by content type ran code before 1.4.8"),
        ("feast", "0.67", "older resolutions know neither our store nor its fixes"),
        ("mlflow", "3.17", "the plain file store is gone since"),
        ("starlette", "1.0.1", "a forged Host header passed by rules on paths before"),
        ("pyarrow", "14.0.1", "files ran code before"),
        ("lightgbm", "4.7", "what its text parser is asked to read is checked for this format"),
        ("duckdb", "1.5", "the feature store was seen working with it"),
        ("numpy", "2.4", "arrays are read without pickle by it"),
        ("cryptography", "45", "signatures"),
        ("orjson", "3.9.15", "deep JSON ended the process before"),
        ("redis", "4.5.4", "a cancelled call gave the next caller another customer's answer before"),
        ("uvicorn", "0.35", "the bounds on connections sit on its protocol"),
    ],
)
def test_what_is_locked_and_installed_is_above_the_floors_of_known_holes(library: str, floor: str, why: str) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.findall(rf"^{library}==([0-9.]+)", lock, re.MULTILINE)
    assert all(Version(version) >= Version(floor) for version in found), why
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [re.match(rf"{library}(?:\[\w+\])?>=([0-9.]+)", line) for line in project["dependencies"]]
    assert all(Version(one[1]) >= Version(floor) for one in asked if one is not None), why
    with contextlib.suppress(metadata.PackageNotFoundError):
        assert Version(metadata.version(library)) >= Version(floor), why
    assert found or library in ("orjson", "redis"), f"{library} is not locked"


def test_the_lock_pins_with_hashes_what_the_project_asks_for() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    asked = {re.split(r"[\[<>=~ ]", line)[0].lower().replace("_", "-") for line in everything}
    assert asked <= pinned
    assert lock.count("--hash=sha256:") > len(pinned)
    assert "http" + "://" not in lock
    assert "https" + "://" not in lock


def test_the_lock_is_complete_so_that_nothing_is_resolved_at_set_up() -> None:
    """Where `uvicorn` is locked and `uvicorn[standard]` asked for, pip looks at the newest release and ends: one elsewhere would break our set-up."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]+\])?==([^\s;]+)", lock, re.MULTILINE):
        pinned.setdefault(name, []).append(version)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    todo, seen = [(Requirement(line), frozenset({""})) for line in everything], set[tuple[str, frozenset[str]]]()
    while todo:
        wanted, extras = todo.pop()
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name, further = canonicalize_name(wanted.name), frozenset({"", *wanted.extras})
        assert any(wanted.specifier.contains(version, prereleases=True) for version in pinned.get(name, [])), wanted
        if (name, further) not in seen:
            seen.add((name, further))
            with contextlib.suppress(metadata.PackageNotFoundError):
                todo += [(Requirement(line), further) for line in metadata.requires(name) or ()]
    assert len(seen) > 100
    for file in ("Makefile", ".ci/run"):
        commands = re.findall(r".*-r requirements\.lock.*", (ROOT / file).read_text(encoding="utf-8"))
        assert commands
        assert all("--require-hashes --no-deps" in command for command in commands), file


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    pattern = re.compile(r"(?<![\w.~-])/(?:home|root|Users|work|mnt)/\w")
    for path in [*MODULES, *(ROOT / "configs").rglob("*.yaml"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "Makefile"]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path
