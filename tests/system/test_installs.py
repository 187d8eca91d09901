"""However the package came onto the machine, its decoders are the ones of the code that their parent runs."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipapp
from collections.abc import Sequence
from pathlib import Path

import pytest

from imgsvc.runtime.interpreter import command

CHECKOUT = Path(__file__).parents[2]
BASE = getattr(sys, "_base_executable", sys.executable)
"""The interpreter that this venv was made from; it knows nothing of the venv's packages."""

DEPENDENCIES = sysconfig.get_path("purelib")
"""As an entry of PYTHONPATH it brings what is installed there, and not what its .pth files add: no editable imgsvc."""


def finds(argv: Sequence[str | Path], cwd: Path, **env: str) -> dict[str, str]:
    """What `doctor` says, by what it is about; it starts a decoder and has it render."""
    clean = {"PATH": os.defpath, "HOME": str(cwd), "IMGSVC_DATA_DIR": str(cwd / "data")}
    ended = subprocess.run(
        [*map(str, argv), "doctor", "--json"], cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout, ended.stderr
    return {item["about"]: f"{item['level']} {item['detail']}" for item in json.loads(ended.stdout)["checks"]}


def decodes(found: dict[str, str]) -> bool:
    return found.get("formats written", "").startswith("ok")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """What `pip install --target` makes of the checkout."""
    folder, source = tmp_path / "target", tmp_path / "source"
    shutil.copytree(CHECKOUT / "imgsvc", source / "imgsvc", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", folder, source], check=True, timeout=300)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package in it, and nothing else."""
    folder = tmp_path / "copy"
    shutil.copytree(CHECKOUT / "imgsvc", folder / "imgsvc", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_n3_a_target_folder_on_pythonpath_works(target: Path, tmp_path: Path) -> None:
    found = finds([BASE, "-m", "imgsvc"], tmp_path, PYTHONPATH=f"{target}{os.pathsep}{DEPENDENCIES}")
    assert decodes(found), found


def test_n3_packages_of_one_user_work(package: Path, tmp_path: Path) -> None:
    """As `pip install --user` lays them: in HOME, which a decoder does not know."""
    user = tmp_path / "user"
    where = subprocess.run(
        [BASE, "-c", "import site; print(site.getusersitepackages())"],
        env={"PYTHONUSERBASE": str(user)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    shutil.copytree(package, where)
    for entry in Path(DEPENDENCIES).iterdir():
        if not entry.name.startswith(("__editable__", "imgsvc")) and entry.suffix != ".pth":
            (Path(where) / entry.name).symlink_to(entry)
    found = finds([BASE, "-m", "imgsvc"], tmp_path, PYTHONUSERBASE=str(user))
    assert decodes(found), found


def test_n3_a_checkout_works_without_being_installed(package: Path) -> None:
    found = finds([BASE, "-m", "imgsvc"], package, PYTHONPATH=DEPENDENCIES)
    assert decodes(found), found


def test_n3_a_relative_pythonpath_works(package: Path, tmp_path: Path) -> None:
    assert package.parent == tmp_path
    found = finds([BASE, "-m", "imgsvc"], tmp_path, PYTHONPATH=f"{package.name}{os.pathsep}{DEPENDENCIES}")
    assert decodes(found), found


def test_n3_an_archive_works_beside_its_dependencies(package: Path, tmp_path: Path) -> None:
    zipapp.create_archive(package, tmp_path / "app.pyz", main="imgsvc.cli.main:main", compressed=True)
    found = finds([BASE, "app.pyz"], tmp_path, PYTHONPATH=DEPENDENCIES)
    assert decodes(found), found


def test_n3_an_archive_has_its_scripts_and_pages(package: Path, tmp_path: Path) -> None:
    zipapp.create_archive(package, tmp_path / "app.pyz", main="imgsvc.cli.main:main")
    code = """if True:
        from imgsvc.api import pages
        from imgsvc.jobs import queue
        assert pages._folder("page") and pages._folder("docs")
        print(queue.__file__)
    """
    env = {"PYTHONPATH": f"{tmp_path / 'app.pyz'}{os.pathsep}{DEPENDENCIES}"}
    ended = subprocess.run([BASE, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith(str(tmp_path / "app.pyz")), ended.stderr


def test_n3_a_venv_behind_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sys.prefix)
    assert decodes(finds([tmp_path / "link" / "bin" / "python", "-m", "imgsvc"], tmp_path))
    (tmp_path / "imgsvc").symlink_to(Path(sys.prefix) / "bin" / "imgsvc")
    assert decodes(finds([tmp_path / "imgsvc"], tmp_path))


def test_n3_pythonhome_makes_no_difference(package: Path, tmp_path: Path) -> None:
    path = f"{package}{os.pathsep}{DEPENDENCIES}"
    found = finds([BASE, "-m", "imgsvc"], tmp_path, PYTHONHOME=sys.base_prefix, PYTHONPATH=path)
    assert decodes(found), found


def test_n3_of_two_packages_the_decoder_runs_its_parents(package: Path, tmp_path: Path) -> None:
    child = package / "imgsvc" / "decoder" / "child.py"
    child.write_text("import sys; sys.exit('the copy was run')")
    assert "the copy was run" in finds([sys.executable, "-m", "imgsvc"], tmp_path, PYTHONPATH=str(package))["sandbox"]
    assert decodes(finds([sys.executable, "-m", "imgsvc"], tmp_path))


def test_n3_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    for name in ("PIL", "imgsvc", "runpy", "orjson", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hostile code was run')")
    assert decodes(finds([Path(sys.prefix) / "bin" / "imgsvc"], tmp_path))
    ended = subprocess.run(command("imgsvc", "--version"), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("imgsvc 0."), ended.stderr


def test_this_interpreter_can_tell_the_kinds_apart() -> None:
    """Else the tests above would find the editable package and say nothing."""
    ended = subprocess.run([BASE, "-c", "import imgsvc"], cwd="/", env={}, capture_output=True, text=True)
    assert "No module named 'imgsvc'" in ended.stderr
