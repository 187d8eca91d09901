"""How many cores there are: what the process may run on, or what its control groups' quotas leave of that."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from imgsvc.runtime.cores import available_cores

V2 = "31 23 0:28 {top} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
BESIDE = (
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n34 31 0:9 / /mnt/a\\040b rw - ext4 /dev/sda rw"
)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] (pytest uses it)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)  # pyright: ignore


def machine(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    for path, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **files}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "cores"),
    [
        # version 2: each group above may be narrower
        (V2.format(top="/"), "0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        (V2.format(top="/"), "0::/a/b", {"a/b/cpu.max": "150000 100000", "a/cpu.max": "400000 100000"}, 2),
        (V2.format(top="/"), "0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "10000 100000"}, 1),
        (V2.format(top="/"), "0::/a/b", {"a/b/cpu.max": "1600000 100000"}, 8),
        (V2.format(top="/"), "0::/a/b", {}, 8),
        # in a namespace of its own the group is `/`, whatever it is outside
        (V2.format(top="/"), "0::/", {"cpu.max": "200000 100000"}, 2),
        (V2.format(top="/.."), "0::/", {"cpu.max": "200000 100000"}, 2),
        (V2.format(top="/"), "0::/../beside", {"cpu.max": "200000 100000"}, 2),
        # a container whose group alone is mounted
        (V2.format(top="/docker/c"), "0::/docker/c", {"cpu.max": "200000 100000"}, 2),
        (V2.format(top="/docker/c"), "0::/docker/c/d", {"d/cpu.max": "100000 100000"}, 1),
        (V2.format(top="/docker/c"), "0::/elsewhere", {"cpu.max": "200000 100000"}, 2),
        # version 1, and both
        (V1.format(top="/"), "4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs": "150000 100000"}, 2),
        (V1.format(top="/"), "4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs": "-1 100000"}, 8),
        (V1.format(top="/docker/c"), "4:cpu,cpuacct:/docker/c", {"cpu,cpuacct/cpu.cfs": "50000 100000"}, 1),
        (
            f"{V2.format(top='/')}\n{V1.format(top='/')}",
            "4:cpu,cpuacct:/a\n0::/b",
            {"cpu,cpuacct/a/cpu.cfs": "300000 100000"},
            3,
        ),
    ],
)
def test_a_quota_makes_the_cores_fewer(
    tmp_path: Path, mounts: str, groups: str, files: dict[str, str], cores: int
) -> None:
    laid: dict[str, str] = {}
    for name, text in files.items():
        path = f"sys/fs/cgroup/{name}"
        if name.endswith("cpu.cfs"):
            quota, period = text.split()
            laid |= {f"{path}_quota_us": quota, f"{path}_period_us": period}
        else:
            laid[path] = text
    groups = f"9:cpuset:/\n{groups}"
    assert available_cores(machine(tmp_path, f"{BESIDE}\n{mounts}", groups, laid)) == cores


def test_without_proc_it_is_what_the_process_may_run_on(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 8


@pytest.fixture
def group() -> Generator[Path]:
    """A control group that may use half a core."""
    version_1 = Path("/sys/fs/cgroup/cpu")
    outer = (version_1 if version_1.is_dir() else version_1.parent) / f"imgsvc-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        inner.mkdir(parents=True)
        if version_1.is_dir():
            (inner / "cpu.cfs_quota_us").write_text("50000")
        else:
            (outer / "cgroup.subtree_control").write_text("+cpu")
            (inner / "cpu.max").write_text("50000 100000")
        yield inner
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    finally:
        for folder in (inner, outer):
            if folder.is_dir():
                folder.rmdir()


def test_d19_a_real_quota_of_half_a_core_is_one_decoder(group: Path) -> None:
    script = f"""
import os
from pathlib import Path
Path({str(group / "cgroup.procs")!r}).write_text(str(os.getpid()))
from imgsvc.runtime.cores import available_cores
print(available_cores())
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"
