"""What holds of the project as a whole: style, types, documentation, packages, start-up, and what SECURITY.md says."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
import zlib
from pathlib import Path

import pytest

import lifelong

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
HEAVY = {"torch", "scipy", "matplotlib", "pandas"}


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """What this Python prints when run with `arguments`, which must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"python {' '.join(arguments)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def needs(*modules: str, extra: str) -> None:
    """Skips where an extra is not installed; the gate installs all of them, and fails."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        why = f"{', '.join(missing)} not installed: pip install -e '.[{extra}]'"
        (pytest.fail if "CI" in os.environ else pytest.skip)(why)


# --- style and types ---
def test_ruff_finds_nothing() -> None:
    run("-m", "ruff", "check", "--no-fix", ".")


def test_all_files_are_formatted() -> None:
    run("-m", "ruff", "format", "--check", ".")


def test_types() -> None:
    run("-m", "mypy")


# --- documentation ---
def test_documentation_builds_and_holds_every_public_name(tmp_path: Path) -> None:
    needs("sphinx", "myst_parser", "furo", extra="docs")
    html = tmp_path / "html"
    run(
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(tmp_path / "doctrees"),
        "docs",
        str(html),
    )
    inventory = (html / "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split(" ")[0].split(".")[-1] for line in zlib.decompress(inventory).decode().splitlines()}
    assert not set(lifelong.__all__) - names


def test_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


# --- packages ---
def test_packages_hold_everything_and_work(tmp_path: Path) -> None:
    needs("hatchling", extra="test")
    run("-m", "hatchling", "build", "-d", str(tmp_path))
    [sdist], [wheel] = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")

    package = ROOT / "src" / "lifelong"
    files = {str(f.relative_to(ROOT / "src")) for f in package.rglob("*") if f.is_file() and f.suffix != ".pyc"}
    assert any(f.endswith(".npz") for f in files)
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        archive.extractall(tmp_path / "wheel")
    notices = {f for f in packed if f.endswith((".dist-info/licenses/LICENSE", ".dist-info/licenses/NOTICE"))}
    assert len(notices) == 2
    assert {f for f in packed if ".dist-info/" not in f} == files

    run("-m", "tarfile", "-e", str(sdist), str(tmp_path / "sdist"))
    [unpacked] = (tmp_path / "sdist").iterdir()
    for name in (
        "LICENSE",
        "NOTICE",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "tests",
        "docs",
    ):
        assert (unpacked / name).exists(), name
    assert {str(f.relative_to(unpacked / "src")) for f in (unpacked / "src").rglob("*") if f.is_file()} == files

    unzipped = str(tmp_path / "wheel")
    code = f"""
import sys
sys.path.insert(0, {unzipped!r})
import lifelong
print(lifelong.__file__, len(lifelong.permuted(tasks=2)))
"""
    printed = run("-c", code, cwd=tmp_path)
    assert printed.startswith(unzipped)


def test_every_dependency_is_pinned_for_the_gate() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    pinned = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()

    def name(requirement: str) -> str:
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    assert {name(r) for r in asked} <= {name(line) for line in pinned if "==" in line}


# --- start-up ---
def test_import_loads_nothing_heavy() -> None:
    loaded = run("-c", "import sys, lifelong; print(*sys.modules)").split()
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("command", ["--help", "methods", "streams", "nets"])
def test_help_and_lists_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = f"""
import sys
from lifelong.cli import main
sys.argv = ["lifelong", {command!r}]
try:
    code = main()
except SystemExit as exit:
    code = exit.code
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not HEAVY & set(done.stderr.split())


def test_help_answers_at_once() -> None:
    def seconds(*arguments: str) -> float:
        began = time.perf_counter()
        run(*arguments)
        return time.perf_counter() - began

    bare = min(seconds("-c", "") for _ in range(5))
    answer = min(seconds("-c", "from lifelong.cli import main; main()", "--help") for _ in range(5))
    assert answer - bare < 0.5


# --- what SECURITY.md says ---
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nothing_runs_code_from_files(source: Path) -> None:
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for node in ast.walk(ast.parse(source.read_text())):
        where = f"{source}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Import(names=names):
                assert not unsafe & {n.name.split(".")[0] for n in names}, where
            case ast.ImportFrom(module=str(module)):
                assert module.split(".")[0] not in unsafe, where
            case ast.Call(func=ast.Name(id="eval" | "exec" | "compile")):
                pytest.fail(f"{where}: runs text as code")
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=called), keywords=keywords):
                safe = any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in keywords)
                assert (owner, called) != ("torch", "load") or safe, where  # tensors only
                assert (owner, called) not in {
                    ("torch", "save"),
                    ("yaml", "load"),
                }, where
                assert "allow_pickle" not in {k.arg for k in keywords}, where
