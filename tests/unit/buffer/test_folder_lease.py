import errno
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detectors.buffer import folder_lease
from detectors.buffer.folder_lease import LEASE, STALE_S, FolderLease, Owner
from detectors.errors import HostError


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has no locks, as NFS may be mounted."""

    def refused(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(folder_lease, "_SETTLE_S", 0.01)


def left_by(folder: Path, *, quiet_s: float = 0.0, **differs: object) -> Owner:
    """A lease that another owner left behind, without a lock on it."""
    path = folder / LEASE
    path.touch()
    owner = Owner.of_this_process(path.stat().st_ino)
    other = Owner(**{name: getattr(owner, name) for name in Owner.__slots__} | differs)
    path.write_bytes(other.to_text())
    then = time.time() - quiet_s
    os.utime(path, (then, then))
    return other


def test_the_second_of_two_is_refused_and_learns_who_has_the_folder(tmp_path):
    lease = FolderLease(tmp_path)
    refusal = f"{tmp_path}: process {os.getpid()} on host {socket.gethostname()} since .* writes there"
    with pytest.raises(HostError, match=refusal):
        FolderLease(tmp_path)
    lease.release()
    lease.release()
    FolderLease(tmp_path).release()


def test_the_same_without_locks(tmp_path, without_locks):
    lease = FolderLease(tmp_path)
    with pytest.raises(HostError, match=f"process {os.getpid()} on host"):
        FolderLease(tmp_path)
    lease.release()
    FolderLease(tmp_path).release()


def test_a_refused_writer_leaks_nothing(tmp_path):
    lease = FolderLease(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(HostError):
        FolderLease(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == [LEASE]
    lease.release()


_KILLED = """
import sys, os
from pathlib import Path
from detectors.buffer.folder_lease import FolderLease
lease = FolderLease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("locks", [True, False])
def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path, locks, request):
    if not locks:
        request.getfixturevalue("without_locks")
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(HostError, match=f"process {child.pid} on host"):
        FolderLease(tmp_path)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    FolderLease(tmp_path).release()
    child.communicate()


def test_a_process_id_that_was_used_again_is_another_process(tmp_path, without_locks):
    me = left_by(tmp_path)
    with pytest.raises(HostError):
        FolderLease(tmp_path)
    left_by(tmp_path, start=me.start - 1)
    FolderLease(tmp_path).release()


def test_another_host_is_gone_when_it_was_quiet_for_long(tmp_path):
    left_by(tmp_path, host="far", system="another boot", pid=7, quiet_s=STALE_S / 2)
    with pytest.raises(
        HostError, match=rf"process 7 on host far since .*, or wait until its lease is {STALE_S:g} s old"
    ):
        FolderLease(tmp_path)
    left_by(tmp_path, host="far", system="another boot", pid=7, quiet_s=STALE_S + 1)
    FolderLease(tmp_path).release()


def test_of_two_that_take_a_free_lease_at_once_without_locks_one_has_it(tmp_path, without_locks, monkeypatch):
    other = None

    def meanwhile(_s: float) -> None:
        nonlocal other
        other = left_by(tmp_path, host="far", system="another boot")

    monkeypatch.setattr(folder_lease.time, "sleep", meanwhile)
    with pytest.raises(HostError, match="on host far"):
        FolderLease(tmp_path)
    assert Owner.from_text((tmp_path / LEASE).read_bytes()) == other


def test_renewing_shows_that_the_owner_lives_and_finds_who_took_the_lease_over(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lease, "RENEW_S", 0.0)
    lease = FolderLease(tmp_path)
    path = tmp_path / LEASE
    os.utime(path, (0, 0))
    lease.renew()
    assert time.time() - path.stat().st_mtime < 10
    path.write_bytes(b"torn{")
    lease.renew()
    assert json.loads(path.read_bytes())["pid"] == os.getpid()
    left_by(tmp_path, host="far", pid=9)
    with pytest.raises(HostError, match="process 9 on host far"):
        lease.renew()
    lease.release()
    assert json.loads(path.read_bytes())["host"] == "far"  # it is not ours to give back


def test_it_knows_its_folder_by_any_path_until_it_is_removed(tmp_path):
    folder = tmp_path / "M00"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    lease = FolderLease(folder)
    assert lease.is_of(tmp_path / "link")
    assert not lease.is_of(tmp_path)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert not lease.is_of(folder)
    (folder / LEASE).touch()
    assert not lease.is_of(folder)
    lease.release()


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 5000, b'{"host": 1}', b"\xff\xfe", bytes(512)])
def test_a_lease_that_says_nothing_usable_is_free(tmp_path, text):
    (tmp_path / LEASE).write_bytes(text)
    FolderLease(tmp_path).release()


def test_the_text_is_of_one_size(tmp_path):
    lease = FolderLease(tmp_path)
    text = (tmp_path / LEASE).read_bytes()
    assert len(text) == 512
    assert re.fullmatch(rb"\{.*\} *\n", text, re.DOTALL)
    lease.release()


def test_a_copy_of_a_lease_is_none(tmp_path):
    lease = FolderLease(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(tmp_path / LEASE, copy)
    FolderLease(copy).release()
    lease.release()
