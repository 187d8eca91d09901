"""How many cores this process may use: those it may run on, or fewer where a control group has a quota of CPU time."""

import os
from math import ceil
from pathlib import Path

ROOT = Path("/")


def available_cores(root: Path = ROOT) -> int:
    """At least 1. Half a core is counted as one, one and a half as two.

    `root` is where /proc and /sys are; another one in tests only.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([allowed, *(ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> list[float]:
    """Cores that each group may use which this process is in, from its own up to the uppermost that it can see."""
    quotas: list[float] = []
    for mount, group in _groups(root):
        for folder in (group, *group.parents):
            quota = _quota(mount / folder)
            if quota is not None:
                quotas.append(quota)
    return quotas


def _groups(root: Path) -> list[tuple[Path, Path]]:
    """Where each hierarchy that can have CPU quotas is mounted, and this process's group, relative to that."""
    groups = _own_groups(root)
    found: list[tuple[Path, Path]] = []
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if kind[0] == "cgroup2":
            group = groups.get("")
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            group = groups.get("cpu")
        else:
            continue
        if group is not None:
            top, mount = (_unescaped(field) for field in fields[3:5])
            found.append((root / mount.lstrip("/"), _below(group, top)))
    return found


def _own_groups(root: Path) -> dict[str, str]:
    """This process's group by controller; that of version 2 is by the name of none."""
    groups: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), group)
    return groups


def _below(group: str, top: str) -> Path:
    """The group's folder within a mount that shows the hierarchy from `top` on.

    What lies beyond the mount cannot be seen: a container without a namespace of its own has its group mounted alone,
    and one whose namespace begins further down gets a path that goes up.
    """
    path, root = Path(group), Path(top)
    if ".." in path.parts or not path.is_relative_to(root):
        return Path()
    return path.relative_to(root)


def _quota(folder: Path) -> float | None:
    """Cores, by version 2's file or version 1's two; None where there is no limit, or no such file."""
    match _words(folder / "cpu.max"), _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us"):
        case ([quota, period], _, _) | (_, [quota], [period]):
            return int(quota) / int(period) if quota.isdecimal() and int(period) else None
        case _:
            return None


def _words(path: Path) -> list[str]:
    return (_lines(path) or [""])[0].split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _unescaped(path: str) -> str:
    """A path of mountinfo, where what would end a field or line is in octal."""
    return path.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
