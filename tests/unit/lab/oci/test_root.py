from pathlib import Path

from agent.lab.oci.root import separate_mounts

MOUNTINFO = """\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 254:1 / /usr/local rw - ext4 /dev/vdb rw
31 27 254:2 / /home rw - ext4 /dev/vdc rw
32 31 254:3 / /home/build\\040er rw - ext4 /dev/vdd rw
33 27 0:28 / /home/build\\040er/weft/build/store rw - overlay overlay rw
34 27 0:29 / /run/weft rw - tmpfs tmpfs rw
35 32 254:3 / /home/build\\040er rw - ext4 /dev/vdd rw
"""


def test_what_programs_need_is_shown_though_it_is_on_another_file_system() -> None:
    shown = [Path("/usr"), Path("/home/build er/weft/agent")]
    assert separate_mounts(MOUNTINFO, shown) == [
        {"destination": path, "type": "bind", "source": path, "options": ["bind", "ro", "rprivate"]}
        for path in ("/usr/local", "/home", "/home/build er")
    ]


def test_nothing_more_is_shown_when_the_machine_has_one_file_system() -> None:
    assert separate_mounts(MOUNTINFO, [Path("/bin"), Path("/opt/weft")]) == []


def test_of_a_hidden_folder_only_what_programs_need_is_shown() -> None:
    mounts = (
        MOUNTINFO + "36 27 0:30 / /tmp rw - tmpfs tmpfs rw\n37 36 0:31 / /tmp/weft/agent/deeper rw - tmpfs tmpfs rw\n"
    )
    shown = [Path("/tmp/weft/agent"), Path("/tmp/weft/.venv")]
    assert [each["destination"] for each in separate_mounts(mounts, shown)] == [
        "/tmp/weft/agent",
        "/tmp/weft/.venv",
        "/tmp/weft/agent/deeper",
    ]
