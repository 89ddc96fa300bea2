"""Which file systems are polled, and how it is noticed that something is mounted."""

import subprocess
from pathlib import Path

import pytest
import trio
import trio.testing

from lumiliod.watch.mounts import Mounts, why_polled

TABLE = r"""
1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
2 1 0:30 / /mnt/nas rw - nfs4 nas:/photos rw
3 2 0:31 / /mnt/nas/local rw - xfs /dev/sdb rw
4 1 0:32 / /mnt/with\040space rw - cifs //nas/photos rw
5 1 0:33 / /mnt/ssh rw - fuse.sshfs host: rw
6 1 0:34 / /mnt/ntfs rw - fuseblk /dev/sdc rw
7 1 0:35 / /home/p/lib/share rw - smb3 //nas/x rw
8 1 0:36 / /mnt/nas2 rw - nfs nas:/y rw
9 8 0:37 / /mnt/nas2 rw - ext4 /dev/sdd rw
"""


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ("/srv/photos", None),
        ("/mnt/nas", "it is on nfs4"),
        ("/mnt/nas/a/b", "it is on nfs4"),
        ("/mnt/nasty", None),
        ("/mnt/nas/local/x", None),
        ("/mnt/with space/x", "it is on cifs"),
        ("/mnt/ssh", "it is on fuse.sshfs"),
        ("/mnt/ntfs", None),
        ("/home/p/lib", "share in it is on smb3"),
        ("/mnt/nas2/x", None),
    ],
)
def test_what_is_on_a_network_is_polled(tmp_path: Path, root: str, why: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE.strip())
    assert why_polled(root, str(table)) == why


async def unmount(path: Path) -> None:
    await trio.run_process(["umount", path])


async def test_every_mount_is_noticed(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        with Mounts() as mounts:
            for _ in range(20):
                # before it is waited for
                subprocess.run(["mount", "-o", "bind", tmp_path, tmp_path], check=True)
                with trio.fail_after(30):
                    await mounts.changed()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(unmount, tmp_path)
                    with trio.fail_after(30):
                        await mounts.changed()
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(mounts.changed)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
