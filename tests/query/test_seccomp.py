"""The filter for system calls allows those of its list, and no others."""

from __future__ import annotations

import errno
import platform
import struct
import sys

import pytest

from ipfs_log_handlers.query import seccomp
from ipfs_log_handlers.query.seccomp import PROCESSORS, filter_program, refuse_system_calls
from tests.support.taken_over import ATTEMPTS, NEW_CALLS, outcomes, prepare

ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
THREAD = 0x3D0F00
"""The flags with which glibc makes a thread by `clone`."""
CALLS = {
    "x86_64": {"open": 2, "socket": 41, "execve": 59, "kill": 62, "ptrace": 101, "prctl": 157, "openat": 257},
    "aarch64": {"openat": 56, "kill": 129, "ptrace": 117, "prctl": 167, "socket": 198, "execve": 221},
}
"""Numbers of some calls that are refused; the `openat` of one processor is the `clone` of the other."""


def verdict(program: bytes, number: int, *, arch: int, argument: int = 0) -> int:
    """Run a filter as the kernel does, and return its answer."""
    data = struct.pack("=iIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    position = loaded = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            loaded &= operand
        elif code in (0x15, 0x35):
            position += if_true if (loaded == operand if code == 0x15 else loaded >= operand) else if_false
        else:
            assert code == 0x06
            return int(operand)


@pytest.mark.parametrize("machine", PROCESSORS)
def test_the_calls_of_the_list_are_allowed_and_no_others(machine):
    """For each number up to those of the newest kernels, on each processor."""
    processor = PROCESSORS[machine]
    program = filter_program(processor)
    listed = {numbers[processor.column] for numbers in seccomp._ALLOWED.values()}
    assert len(listed) == len(seccomp._ALLOWED)
    allowed = {number for number in range(1000) if verdict(program, number, arch=processor.audit_arch) == ALLOW}
    assert allowed == listed
    for number in CALLS[machine].values():
        assert verdict(program, number, arch=processor.audit_arch) == FAIL | errno.EPERM
    for number in NEW_CALLS.values():
        assert verdict(program, number, arch=processor.audit_arch) == FAIL | errno.ENOSYS


@pytest.mark.parametrize("machine", PROCESSORS)
def test_a_thread_may_be_started_and_no_process_and_no_namespace(machine):
    """The flags of `clone` decide; other bits of its argument do not matter."""
    processor = PROCESSORS[machine]
    program = filter_program(processor)

    def of(flags: int) -> int:
        return verdict(program, processor.clone, arch=processor.audit_arch, argument=flags)

    assert of(THREAD) == of(THREAD | 0x400000) == ALLOW
    for flags in (0, 17, 0x01200011, 0x4111):  # fork and vfork, of C libraries
        assert of(flags) == FAIL | errno.EPERM
    for namespace in (0x20000, *(1 << bit for bit in range(25, 31))):
        assert of(THREAD | namespace) == FAIL | errno.EPERM


@pytest.mark.parametrize("machine", PROCESSORS)
def test_a_call_in_the_numbers_of_another_processor_ends_the_process(machine):
    """As a program of 32 bits makes it, whose numbers mean other calls."""
    for arch in (0x40000003, 0x40000028, *(other.audit_arch for name, other in PROCESSORS.items() if name != machine)):
        assert verdict(filter_program(PROCESSORS[machine]), 0, arch=arch) == KILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seccomp")
def test_the_kernel_refuses_all_that_leaves_the_process(tmp_path):
    """By seccomp alone, each attempt fails that succeeds without it."""
    with prepare(tmp_path) as around:
        limited = outcomes("seccomp", around)
        free = outcomes("none", around)
    assert limited == dict.fromkeys(ATTEMPTS, "EPERM") | dict.fromkeys(NEW_CALLS, "ENOSYS")
    assert {name: free[name] for name in ATTEMPTS} == dict.fromkeys(ATTEMPTS, "done")


def test_another_processor_is_not_limited_and_says_so(monkeypatch):
    """The numbers of its calls are not known here; this process goes on without a limit."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert refuse_system_calls() is False
