"""What holds of the project as a whole: style, types, documentation, packages, start-up, and what SECURITY.md says."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import time
import tomllib
import warnings
import zipfile
import zlib
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.licenses import canonicalize_license_expression

import lifelong
import toys
from lifelong.core.errors import LifelongWarning

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


def test_changelog_knows_the_version_and_its_date() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


PLACE = re.compile(r"(?<!\w)/(work|tmp|root)/|/(home|Users)/\w|[A-Z]:\\{1,2}Users")


def test_nothing_that_is_shown_holds_a_path_of_a_machine() -> None:
    """What was measured says what of, and not where that lay."""
    assert all(
        PLACE.search(path)
        for path in ("mnist (/tmp/data/mnist)", "D=/work/x", "/home/me/x", "C:\\Users\\me", "/Users/me")
    )
    shown = [*ROOT.glob("README*"), *(ROOT / "benchmarks" / "results").rglob("*")]
    shown += [f for part in ("docs", "examples") for f in (ROOT / part).rglob("*") if "_build" not in f.parts]
    text = {".md", ".txt", ".json", ".csv", ".py", ".sh", ".yaml", ".html", ".svg"}
    found = [f for f in shown if f.suffix in text and PLACE.search(f.read_text(encoding="utf-8"))]
    assert len(shown) > 50
    assert not found


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
    [about] = (tmp_path / "wheel").glob("*.dist-info/METADATA")
    licences_are_named(Parser().parsestr(about.read_text(encoding="utf-8"))["License-Expression"])

    run("-m", "tarfile", "-e", str(sdist), str(tmp_path / "sdist"))
    [unpacked] = (tmp_path / "sdist").iterdir()
    for name in (
        "LICENSE",
        "NOTICE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
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


def licences_are_named(expression: str) -> None:
    """That of the code, and of each data set that comes with it."""
    notice = " ".join((ROOT / "NOTICE").read_text().split())
    said = {
        "Apache-2.0": "Apache License, Version 2.0",
        "CC-BY-SA-3.0": "Creative Commons Attribution-ShareAlike 3.0",
        "CC-BY-4.0": "Creative Commons Attribution 4.0",
        "MIT": "The MIT License",
        "BSD-3-Clause": "BSD 3-Clause License",
    }
    assert all(text in notice for text in said.values())
    assert expression == canonicalize_license_expression(expression)
    assert set(expression.split(" AND ")) == said.keys()
    assert all(data.name in notice for data in (ROOT / "src" / "lifelong" / "assets").glob("*.npz"))


def test_every_dependency_is_pinned_for_the_gate() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    pinned = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()

    def name(requirement: str) -> str:
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    pins = {name(line) for line in pinned if "==" in line}
    assert {name(r) for r in asked} <= pins
    assert not [pin for pin in pins if pin.startswith(("nvidia-", "cuda-", "triton"))]  # torch's CPU build has none


# --- warnings ---
@pytest.mark.parametrize(
    "module", ["lifelong", "lifelong.methods.ewc", __name__, "tests.laws.test_laws", toys.__name__]
)
def test_a_warning_of_ours_is_an_error(module: str) -> None:
    with pytest.raises(FutureWarning):
        warnings.warn_explicit("ours", FutureWarning, "file.py", 1, module=module)


def test_a_warning_of_this_test_is_an_error() -> None:
    with pytest.raises(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)


def test_what_a_user_is_warned_of_is_an_error() -> None:
    with pytest.raises(LifelongWarning):
        warnings.warn_explicit("ours", LifelongWarning, "somebody's.py", 1, module="__main__")


@pytest.mark.parametrize("module", ["torch.jit._script", "lifelonger", "toyshop", "numpy.tests"])
def test_a_warning_of_others_is_none(module: str) -> None:
    with warnings.catch_warnings(record=True) as caught:  # as the configuration has it, and not shown
        warnings.warn_explicit("theirs", FutureWarning, "file.py", 1, module=module)
    assert [str(w.message) for w in caught] == ["theirs"]


@pytest.mark.parametrize(
    ("place", "ours"), [(ROOT / "src" / "lifelong" / "runs" / "heartbeat.py", True), (Path("elsewhere.py"), False)]
)
def test_an_error_in_a_thread_is_one_where_it_is_ours(place: Path, ours: bool) -> None:
    kind = pytest.PytestUnhandledThreadExceptionWarning
    text = f'Exception in thread Thread-1\n\nTraceback (most recent call last):\n  File "{place}", line 1, in beat\nValueError'
    with warnings.catch_warnings(record=True) as caught:
        try:
            warnings.warn_explicit(text, kind, "threadexception.py", 1, module="_pytest.threadexception")
        except kind:
            assert ours
        else:
            assert not ours
            assert caught


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
