"""What there is by name: the package's own, read from its files; that of other packages; and code that is named by where it is."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lifelong.core import code
from lifelong.core.errors import LifelongWarning, MethodError, nearest
from lifelong.core.method import Method
from lifelong.core.method_index import index
from lifelong.core.registry import METHODS, NETS, STREAMS, Table, find


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described_as_it_is(name: str) -> None:
    """The index reads files, and says what the classes say."""
    entry = METHODS[name]
    kind = entry.load()
    method = kind()
    assert (kind.name, kind.summary, kind.paper) == (name, entry.summary, entry.source)
    assert (entry.portable, entry.ranks) == (method.portable, method.traits.ranks)
    assert tuple(entry.scenarios) == tuple(kind.scenarios)


def test_no_method_is_left_out() -> None:
    import lifelong.methods

    given = vars(lifelong.methods).items()
    classes = {n for n, c in given if isinstance(c, type) and issubclass(c, Method) and "name" in vars(c)}
    assert classes == {m.kind for m in index()}
    assert classes <= set(lifelong.__all__)


def test_a_list_imports_nothing_heavy() -> None:
    told = "import sys; from lifelong.core.registry import METHODS; list(METHODS); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_every_name_loads() -> None:
    for table in (METHODS, STREAMS, NETS):
        for entry in table.values():
            assert callable(entry.load())


def test_an_unknown_name_says_the_nearest_and_the_way_in() -> None:
    with pytest.raises(MethodError, match=r"no method called 'ewcc' \(did you mean 'ewc'\?\).*\./file\.py:Name"):
        find("method", METHODS, "ewcc")


# --- code -------------------------------------------------------------------------------------------------------------------
def test_code_of_a_file_and_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    return 7\n")
    monkeypatch.chdir(tmp_path)
    assert code.load("./mine.py:make")() == 7
    assert code.load("mine:make")() == 7  # a module beside which the command runs
    assert code.load("json:dumps")([1]) == "[1]"
    before = code.fingerprint("./mine.py:make")
    (tmp_path / "mine.py").write_text("def make():\n    return 8\n")
    assert code.fingerprint("./mine.py:make") != before
    assert code.load("./mine.py:make")() == 8


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("./none.py:make", "there is no file ./none.py"),
        ("no.such:make", "there is no module 'no.such'"),
        ("./mine.py:mak", r"has no 'mak' \(did you mean 'make'\?\)"),
        ("./mine.py:", "expected ./file.py:Name or package.module:Name"),
        ("./bad.py:make", r"bad.py cannot be loaded \(ZeroDivisionError"),
    ],
)
def test_code_that_cannot_be_had(reference: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    return 7\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MethodError, match=said):
        code.load(reference)


def test_a_file_imports_what_is_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "beside_it.py").write_text("seven = 7\n")
    (tmp_path / "there" / "own.py").write_text("from beside_it import seven\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert code.load("./there/own.py:seven") == 7
    assert sys.path == before


def test_an_installed_module_does_not_see_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tries to import, and is not installed, must not be taken from wherever a command runs."""
    package = tmp_path / "site" / "installed_one"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "mod.py").write_text(
        "try:\n    import only_here\n    found = True\nexcept ImportError:\n    found = False\n"
    )
    (tmp_path / "only_here.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert code.load("installed_one.mod:found") is False
    assert not Path("ran").exists()


def test_a_helper_that_two_folders_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has one module of a name: the second file would get the first one's helper."""
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "its_helper.py").write_text(f"value = {folder!r}\n")
        (tmp_path / folder / "between.py").write_text("from its_helper import value\n")
        (tmp_path / folder / "own.py").write_text(f"import between  # {folder}\nvalue = between.value\n")
    (tmp_path / "two" / "own.py").write_text("from its_helper import value\n")
    assert code.load("./one/own.py:value") == "one"
    assert code.load("./one/own.py:value") == "one"
    with pytest.raises(
        MethodError, match=r"own\.py imports 'its_helper': that is .*two.* and .*one.* elsewhere: rename one"
    ):
        code.load("./two/own.py:value")
    (tmp_path / "two" / "json.py").write_text("value = 1\n")
    (tmp_path / "two" / "other.py").write_text("from json import value\n")
    with pytest.raises(MethodError, match="imports 'json'"):
        code.load("./two/other.py:value")


def test_the_names_of_the_version_before_are_known() -> None:
    assert (
        nearest("--replay.slots", ["--replay.fill", "--replay.buffer_size"])
        == " (did you mean '--replay.buffer_size'?)"
    )
    assert nearest("replay.batch", ["replay.batch_size"]) == " (did you mean 'replay.batch_size'?)"


def test_names_that_two_packages_give_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own name stays its own; of two others the first by its value has the name."""
    points = [
        EntryPoint(n, v, "lifelong.methods") for n, v in (("pull", "b:Pull"), ("pull", "a:Pull"), ("ewc", "c:EWC"))
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    table = Table("method", lambda: {"ewc": METHODS["ewc"]})
    with pytest.warns(LifelongWarning) as said:
        entries = table.entries
    assert [str(w.message).split(":")[0] for w in said] == [
        "the package unknown names a method 'ewc', which is that of lifelong here",
        "the package unknown names a method 'pull', which is that of unknown here",
    ]
    assert (entries["pull"].target, entries["ewc"].target) == ("a:Pull", METHODS["ewc"].target)
