"""Refuse this process every system call but those of a list, by seccomp of the Linux kernel.

The calls of the list compute: they use memory, threads, clocks, descriptors that are open already, and the name of the
working directory, which is `/`. No call opens a file or a socket, starts a program, or reaches another process, so code
that has taken over the process cannot do it either. A refused call fails and nothing else happens; threads that exist
already are limited, too. The limit cannot be removed again.

Sources: Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/{seccomp,filter,audit}.h of Linux; the
numbers of the calls are from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from dataclasses import dataclass
from typing import Final

__all__ = ["PROCESSORS", "Processor", "filter_program", "refuse_system_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """The numbers by which Linux on a kind of processor calls the same things."""

    audit_arch: int
    """The kind of processor, and of the numbers of system calls."""
    seccomp: int
    """The system call that sets the filter."""
    clone: int
    """The system call that starts a thread or a process."""
    column: int
    """Position of the numbers in `_ALLOWED`."""


PROCESSORS: Final = {
    "x86_64": Processor(audit_arch=0xC000003E, seccomp=317, clone=56, column=0),
    "aarch64": Processor(audit_arch=0xC00000B7, seccomp=277, clone=220, column=1),
}
"""By the name of the machine, as `uname -m` says it."""
_ALLOWED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "restart_syscall": (219, 128),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""The calls that may be made, with their numbers on both kinds of processor. `clone` may make threads, too."""
_FIRST_NEW_CALL: Final = 424
"""From this number on, calls are as new as Linux 5.1. They fail as on an older kernel, so that a C library makes an
older call: `clone`, whose arguments a filter sees, for `clone3`. Calls of the x32 ABI have large numbers, too."""
_CLONE_THREAD: Final = 0x00010000
_CLONE_NEW_NAMESPACES: Final = 0x7E020000
"""The flags of `clone` that make namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""Codes of filter.h: BPF_LD|W|ABS, ALU|AND|K, JMP|JEQ|K, JMP|JGE|K, RET|K."""
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`; of an argument, its lower half (both processors are little-endian)."""
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
"""Answers of seccomp.h: SECCOMP_RET_ALLOW, RET_KILL_PROCESS, and RET_ERRNO, to which the error is added."""
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_INSTRUCTION: Final = struct.Struct("=HBBI")
"""`struct sock_filter`: the code, how many instructions to skip if true and if false, and a number."""


def refuse_system_calls() -> bool:
    """Limit all threads of this process; return whether the kernel does it. PR_SET_NO_NEW_PRIVS must be set."""
    processor = PROCESSORS.get(platform.machine())
    if sys.platform != "linux" or processor is None or sys.maxsize < 1 << 32:  # a program of 32 bits on 64
        return False
    program = filter_program(processor)
    instructions = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    outcome = call(
        ctypes.c_long(processor.seccomp), ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_FLAG_TSYNC), head
    )
    return bool(outcome == 0)


def filter_program(processor: Processor) -> bytes:
    """Return the program that the kernel runs for each system call, as an array of `struct sock_filter`."""
    allowed = [numbers[processor.column] for numbers in _ALLOWED.values()]
    return b"".join(
        [
            _INSTRUCTION.pack(_LOAD, 0, 0, _ARCH),
            _INSTRUCTION.pack(_EQUAL, 1, 0, processor.audit_arch),
            _INSTRUCTION.pack(_RETURN, 0, 0, _KILL),
            _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER),
            *_if(_AT_LEAST, _FIRST_NEW_CALL, _FAIL | errno.ENOSYS),
            *(instruction for number in allowed for instruction in _if(_EQUAL, number, _ALLOW)),
            _INSTRUCTION.pack(_EQUAL, 1, 0, processor.clone),
            _INSTRUCTION.pack(_RETURN, 0, 0, _FAIL | errno.EPERM),
            _INSTRUCTION.pack(_LOAD, 0, 0, _FIRST_ARGUMENT),
            _INSTRUCTION.pack(_AND, 0, 0, _CLONE_THREAD | _CLONE_NEW_NAMESPACES),
            *_if(_EQUAL, _CLONE_THREAD, _ALLOW),
            _INSTRUCTION.pack(_RETURN, 0, 0, _FAIL | errno.EPERM),
        ]
    )


def _if(comparison: int, number: int, answer: int) -> tuple[bytes, bytes]:
    """Return the two instructions that give an answer if the loaded number compares so with another."""
    return _INSTRUCTION.pack(comparison, 0, 1, number), _INSTRUCTION.pack(_RETURN, 0, 0, answer)
