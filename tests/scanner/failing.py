"""Runs a program on a kernel that lacks something: some system calls are not made, but answered.

    failing.py CALL... -- PROGRAM...

CALL is `NAME[:ARGUMENT=VALUE|:ARGUMENT!=VALUE|:ARGUMENT>VALUE][->ANSWER]`: the call, which of its arguments decides
whether it is answered (the first is 0; of its value the lower half), and with what: the name of an error, ENOSYS
if nothing is said, or a number.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import re
import select
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
NUMBERS = {
    "memfd_secret": {"x86_64": 447, "aarch64": 447},
    "getrandom": {"x86_64": 318, "aarch64": 278},
    "seccomp": {"x86_64": 317, "aarch64": 277},
    "landlock_create_ruleset": {"x86_64": 444, "aarch64": 444},
    "landlock_restrict_self": {"x86_64": 446, "aarch64": 446},
}
LOAD, IF_EQUAL, IF_OVER, RETURN = 0x20, 0x15, 0x25, 0x06
# Where the kernel puts the call's number and its arguments, the lower half first.
NUMBER, ARGUMENTS = 0, 16
ALLOW, REFUSE, ASK = 0x7FFF0000, 0x00050000, 0x7FC00000
# How an answer that is no error is given: struct seccomp_notif, struct seccomp_notif_resp.
RECEIVE, QUESTION, SEND, ANSWER = 0xC0502100, 80, 0xC0182101, "=QqiI"


def instruction(code, value, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, value)


def number(name):
    return NUMBERS[name][platform.machine()]


def rule(call, answers):
    form = r"(\w+)(?::(\d)(=|!=|>)(\d+))?(?:->(\w+))?"
    name, argument, relation, value, answer = re.fullmatch(form, call).groups()
    if answer and answer.isdigit():
        answers[number(name)] = int(answer)
        end = instruction(RETURN, ASK)
    else:
        end = instruction(RETURN, REFUSE | getattr(errno, answer or "ENOSYS"))
    if not argument:
        return instruction(LOAD, NUMBER) + instruction(IF_EQUAL, number(name), 0, 1) + end
    code = IF_OVER if relation == ">" else IF_EQUAL
    yes, no = (1, 0) if relation == "!=" else (0, 1)
    return (
        instruction(LOAD, NUMBER)
        + instruction(IF_EQUAL, number(name), 0, 3)
        + instruction(LOAD, ARGUMENTS + 8 * int(argument))
        + instruction(code, int(value), yes, no)
        + end
    )


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def install(rules, flags):
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit(f"PR_SET_NO_NEW_PRIVS: {os.strerror(ctypes.get_errno())}")
    wanted = Filter(len(rules) // 8, rules)
    made = libc.syscall(number("seccomp"), SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(wanted))
    if made < 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    return made


def answer(listener, answers):
    """Answers until no process with the filter is left."""
    wait = select.poll()
    wait.register(listener, select.POLLIN)
    while wait.poll()[0][1] & select.POLLIN:
        question = bytearray(QUESTION)
        try:
            fcntl.ioctl(listener, RECEIVE, question)
            ident, _, _, call = struct.unpack_from("=QIIi", question)
            fcntl.ioctl(listener, SEND, struct.pack(ANSWER, ident, answers[call], 0, 0))
        except FileNotFoundError:
            pass  # Whoever asked has ended.


def install_with_answers(rules, answers):
    """The one who answers is nobody's child, and no part of what is tried."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            ours.close()
            for standard in range(3):
                os.close(standard)
            [(_, _, listener)] = theirs.recvmsg(1, socket.CMSG_SPACE(4))[1]
            answer(struct.unpack("=i", listener)[0], answers)
        os._exit(0)
    os.waitpid(child, 0)
    listener = install(rules, NEW_LISTENER)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))
    ours.sendmsg([b"x"], [rights])


end = sys.argv.index("--")
calls, program = sys.argv[1:end], sys.argv[end + 1 :]
answers = {}
rules = b"".join(rule(call, answers) for call in calls) + instruction(RETURN, ALLOW)
if answers:
    install_with_answers(rules, answers)
else:
    install(rules, 0)
os.execv(program[0], program)
