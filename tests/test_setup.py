"""`make setup` on machines that lack something: tools/setup.sh against fake tools, without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMON = ("sh", "cat", "cksum", "dirname", "mkdir", "cp", "rm", "tail", "tee")

# A Python that makes a .venv of itself and notes what pip is asked for; files beside the fake tools steer its failures.
FAKE_PYTHON = """#!/bin/sh
steer={steer}
case "$*" in
*'%d.%d'*) [ ! -f "$steer/broken" ] || exit 127; cat "$steer/version" ;;
*base_prefix*) echo "$(cat "$steer/version") {name}" ;;
*find_spec*) exit 0 ;;
*ensurepip*) [ ! -f "$steer/no-ensurepip" ] ;;
'-m venv '*)
    mkdir -p "$3/bin"
    cp {tool} "$3/bin/python"
    echo venv >>"$steer/calls"
    [ ! -f "$steer/venv-fails" ] || {{ echo 'ensurepip is not available'; exit 1; }}
    echo with-pip >"$3/with-pip" ;;
'-m pip --version') [ -f .venv/with-pip ] ;;
'-m pip install '*)
    echo "pip $*" >>"$steer/calls"
    echo 'Collecting numpy'
    echo '  Downloading numpy-2.4.6.whl.metadata (6 kB)'
    echo '  Downloading numpy-2.4.6.whl (16 MB)'
    [ -f "$steer/pip-fails" ] || exit 0
    echo 'ERROR: no route to the index'
    printf 'note\\n%.0s' 1 2 3 4 5 6 7 8 9
    exit 1 ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


@dataclass
class Machine:
    """A folder with a checkout's three files and a PATH of its own."""

    checkout: Path
    tools: Path
    steer: Path

    def add_python(self, name: str = "python3") -> Path:
        tool = self.tools / name
        tool.write_text(FAKE_PYTHON.format(steer=self.steer, tool=tool, name=name))
        tool.chmod(0o755)
        return tool

    def add_tool(self, name: str) -> None:
        (self.tools / name).write_text("#!/bin/sh\nexit 0\n")
        (self.tools / name).chmod(0o755)

    def steer_to(self, name: str, text: str = "") -> None:
        (self.steer / name).write_text(text)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.tools / "sh"), str(self.checkout / "tools" / "setup.sh")],
            env={"PATH": str(self.tools), **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def calls(self) -> list[str]:
        """What was asked of venv and pip since the last look."""
        path = self.steer / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def is_stamped(self) -> bool:
        return (self.checkout / ".venv" / "elman-setup").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that lacks nothing."""
    made = Machine(tmp_path / "a checkout", tmp_path / "tools", tmp_path / "steer")
    for folder in (made.checkout / "tools", made.tools, made.steer):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", made.checkout / "tools")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, made.checkout)
    for name in COMMON:
        found = shutil.which(name)
        assert found, f"the tests need {name}"
        (made.tools / name).symlink_to(found)
    made.steer_to("version", "3.11\n")
    made.add_python()
    made.add_tool("c++")
    return made


PIP = "pip -m pip install --no-input --disable-pip-version-check -e .[dev] -c constraints.txt"


def refused(machine: Machine, *words: str, **environment: str) -> str:
    """Runs the set-up, which must fail without a stamp and end with one line that holds every one of `words`."""
    run = machine.setup(**environment)
    assert run.returncode == 1, run.stderr
    assert not machine.is_stamped()
    last = run.stderr.splitlines()[-1]
    for word in ("setup: ", *words):
        assert word in last
    return run.stderr


def test_installs_once(machine: Machine) -> None:
    run = machine.setup()
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.splitlines()[1:] == ["  Downloading numpy-2.4.6.whl (16 MB)"]
    assert machine.calls() == ["venv", PIP]
    again = machine.setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.calls() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_installs_again_when_the_versions_change(machine: Machine, name: str) -> None:
    machine.setup()
    machine.calls()
    path = machine.checkout / name
    path.write_text(path.read_text() + "# changed\n")
    assert machine.setup().returncode == 0
    assert machine.calls() == [PIP]


def test_a_moved_checkout_is_installed_again(machine: Machine) -> None:
    machine.setup()
    machine.calls()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert machine.setup().returncode == 0
    assert machine.calls() == [PIP]


def test_python_can_be_chosen(machine: Machine) -> None:
    machine.setup()
    machine.calls()
    machine.add_python("python3.13")
    run = machine.setup(PYTHON="python3.13")
    assert run.returncode == 0
    assert "making it anew" in run.stderr
    assert machine.calls() == ["venv", PIP]
    assert machine.setup().returncode == 0, "what was chosen stays"
    assert machine.calls() == []


def test_no_python(machine: Machine) -> None:
    (machine.tools / "python3").unlink()
    refused(machine, "'python3'", "apt-get install python3 python3-venv")
    refused(machine, "'python3.99'", PYTHON="python3.99")


def test_a_working_venv_needs_no_other_python(machine: Machine) -> None:
    machine.setup()
    (machine.tools / "python3").unlink()
    (machine.checkout / "constraints.txt").write_text("numpy==2.4.6\n")
    assert machine.setup().returncode == 0


def test_a_python_that_does_not_run(machine: Machine) -> None:
    machine.steer_to("broken")
    refused(machine, "'python3' does not run")


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10"])
def test_an_old_python(machine: Machine, version: str) -> None:
    machine.steer_to("version", version)
    refused(machine, f"'python3' is Python {version}", "3.11 or newer", "PYTHON=python3.11")
    assert machine.calls() == []


@pytest.mark.parametrize("version", ["3.11", "3.14", "4.0"])
def test_a_new_python(machine: Machine, version: str) -> None:
    machine.steer_to("version", version)
    assert machine.setup().returncode == 0


def test_no_venv_module(machine: Machine) -> None:
    machine.steer_to("no-ensurepip")
    refused(machine, "lacks the venv module", "apt-get install python3-venv")
    assert not (machine.checkout / ".venv").exists()


def test_a_venv_that_fails_half_way_is_removed(machine: Machine) -> None:
    machine.steer_to("venv-fails")
    said = refused(machine, "half-made .venv is removed", "apt-get install python3-venv")
    assert "ensurepip is not available" in said
    assert not (machine.checkout / ".venv").exists()


def test_a_half_made_venv_is_made_anew(machine: Machine) -> None:
    binaries = machine.checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(machine.tools / "python3", binaries / "python")
    run = machine.setup()
    assert run.returncode == 0, run.stderr
    assert "half-made" in run.stderr
    assert machine.calls() == ["venv", PIP]


def test_a_venv_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    machine.setup()
    python = machine.checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    machine.calls()
    assert machine.setup().returncode == 0
    assert machine.calls() == ["venv", PIP]


def test_no_compiler(machine: Machine) -> None:
    (machine.tools / "c++").unlink()
    refused(machine, "no C++ compiler", "apt-get install g++")
    assert machine.calls() == [], "nothing is installed before the machine is whole"
    refused(machine, "'icpx'", "CXX", CXX="icpx -O2")
    machine.add_tool("clang++")
    assert machine.setup().returncode == 0


def test_all_that_is_missing_is_said_at_once(machine: Machine) -> None:
    (machine.tools / "c++").unlink()
    machine.steer_to("no-ensurepip")
    lines = refused(machine, "C++").splitlines()
    assert len(lines) == 2
    assert "venv module" in lines[0]


def test_pip_fails_and_the_next_run_goes_on(machine: Machine) -> None:
    machine.steer_to("pip-fails")
    said = refused(machine, "pip failed", "network", ".venv/pip.log", "disk")
    assert "ERROR: no route to the index" in said
    machine.calls()
    (machine.steer / "pip-fails").unlink()
    assert machine.setup().returncode == 0
    assert machine.calls() == [PIP], "the .venv is kept"


def test_a_failed_update_takes_the_stamp_away(machine: Machine) -> None:
    machine.setup()
    (machine.checkout / "constraints.txt").write_text("numpy==2.4.6\n")
    machine.steer_to("pip-fails")
    refused(machine, "pip failed")


def test_a_real_python_answers_what_the_script_asks(machine: Machine) -> None:
    """The fake above must not hide a question that a real Python cannot answer."""
    (machine.tools / "python3").write_text(
        f'#!/bin/sh\ncase "$*" in "-m venv "*) echo reached >"{machine.steer}/calls"; exit 1 ;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    refused(machine, "'python3 -m venv' failed")
    assert machine.calls() == ["reached"]
