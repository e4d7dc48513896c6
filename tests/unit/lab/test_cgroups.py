from pathlib import Path

from agent.lab.cgroups import find_version_1

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:7 - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_every_hierarchy_of_version_1_is_found_beside_version_2() -> None:
    assert find_version_1(HYBRID) == [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/systemd")]
    assert find_version_1("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n") == []
