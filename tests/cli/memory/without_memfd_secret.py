"""Runs a program on a kernel that does not know memfd_secret(2), as older ones don't.

    without_memfd_secret.py PROGRAM...
"""

import ctypes
import errno
import os
import platform
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
MEMFD_SECRET = {"x86_64": 447, "aarch64": 447}[platform.machine()]


def instruction(code, yes, no, value):
    return struct.pack("=HBBI", code, yes, no, value)


# Loads the number of the call; if it is the one, gives ENOSYS, else lets it pass.
program = (
    instruction(0x20, 0, 0, 0)
    + instruction(0x15, 0, 1, MEMFD_SECRET)
    + instruction(0x06, 0, 0, 0x00050000 | errno.ENOSYS)
    + instruction(0x06, 0, 0, 0x7FFF0000)
)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
    sys.exit(f"PR_SET_NO_NEW_PRIVS: {os.strerror(ctypes.get_errno())}")
wanted = Filter(len(program) // 8, program)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
    sys.exit(f"PR_SET_SECCOMP: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
