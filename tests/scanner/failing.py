"""Runs a program on a kernel that refuses some system calls.

    failing.py CALL... -- PROGRAM...

CALL is `memfd_secret`, which older kernels don't know, or `getrandom:LENGTH`, which then gives no random
bytes where exactly so many are asked for.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
NUMBERS = {
    "memfd_secret": {"x86_64": 447, "aarch64": 447},
    "getrandom": {"x86_64": 318, "aarch64": 278},
}
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# Where the kernel puts the call's number and its second argument, the lower half first.
NUMBER, SECOND = 0, 24
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def instruction(code, value, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, value)


def rule(call):
    name, _, length = call.partition(":")
    number = NUMBERS[name][platform.machine()]
    if not length:
        return (
            instruction(LOAD, NUMBER)
            + instruction(IF_EQUAL, number, 0, 1)
            + instruction(RETURN, REFUSE | errno.ENOSYS)
        )
    return (
        instruction(LOAD, NUMBER)
        + instruction(IF_EQUAL, number, 0, 3)
        + instruction(LOAD, SECOND)
        + instruction(IF_EQUAL, int(length), 0, 1)
        + instruction(RETURN, REFUSE | errno.EIO)
    )


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


end = sys.argv.index("--")
calls, program = sys.argv[1:end], sys.argv[end + 1 :]
rules = b"".join(map(rule, calls)) + instruction(RETURN, ALLOW)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
    sys.exit(f"PR_SET_NO_NEW_PRIVS: {os.strerror(ctypes.get_errno())}")
wanted = Filter(len(rules) // 8, rules)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
    sys.exit(f"PR_SET_SECCOMP: {os.strerror(ctypes.get_errno())}")
os.execv(program[0], program)
