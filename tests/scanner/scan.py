"""Looks for secrets in the memory of another process, as root.

    scan.py NEEDLES now PID           as it is at this moment
    scan.py NEEDLES exit PID          at its very end
    scan.py NEEDLES run PROGRAM...    starts a program and looks at it at its very end

NEEDLES is a file of lines "NAME HEX", of at most 16 bytes each. Standard output gets a line "hit NAME in
MAPPING" for each place, then "scanned BYTES". A mapping is called by its
name; an anonymous one that is locked and left out of core files "arena", any other "anonymous". At its
end a process is held by the kernel when nothing of it runs any more and its memory is still there
(PTRACE_EVENT_EXIT), whatever it ends of.

`exit` says "seized" when it is attached and "held" at the end; the needles are read once standard input
is at its end, so that they may be secrets that the process has just learned.
"""

import ctypes
import os
import re
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_TRACEME, PTRACE_CONT, PTRACE_SETOPTIONS, PTRACE_SEIZE = 0, 7, 0x4200, 0x4206
PTRACE_O_TRACEEXIT, PTRACE_EVENT_EXIT = 0x40, 6
LONGEST = 16
PIECE = 1 << 16
ZEROS = bytes(PIECE + LONGEST)


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def mappings(pid):
    """Each mapping that a program can have written to, its name and its range."""
    name = start = end = None
    with open(f"/proc/{pid}/smaps") as lines:
        for line in lines:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                start, end = int(head[1], 16), int(head[2], 16)
                name = head[4].strip() if "w" in head[3] else None
            elif line.startswith("VmFlags:") and name is not None:
                flags = line.split()[1:]
                if not name:
                    name = "arena" if "lo" in flags and "dd" in flags else "anonymous"
                yield name, start, end


def read_needles(path):
    with open(path) as file:
        lines = [line.split() for line in file]
    needles = [(name, bytes.fromhex(form)) for name, form in lines]
    assert needles and all(len(form) <= LONGEST for _, form in needles)
    return needles


def scan(pid, needles, report):
    scanned = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for name, start, end in mappings(pid):
            tail, at = b"", start
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(end - at, PIECE))
                except OSError:
                    # Memory that not even root can read, or a guard page.
                    piece = b""
                if not piece:
                    break
                at += len(piece)
                scanned += len(piece)
                window = tail + piece
                # Most of a stack was never touched.
                if window != ZEROS[: len(window)]:
                    for needle, form in needles:
                        if form in window:
                            print(f"hit {needle} in {name}", file=report, flush=True)
                tail = window[1 - LONGEST :]
    print(f"scanned {scanned}", file=report, flush=True)


def until_exit(pid, at_exit):
    """Lets a traced process run to its end. Returns how it ended, as the kernel says it."""
    while True:
        ended, status = os.waitpid(pid, 0x40000000)  # __WALL
        if ended != pid:
            continue
        if not os.WIFSTOPPED(status):
            return status
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == PTRACE_EVENT_EXIT:
            at_exit()
        passed_on = 0 if event or number == signal.SIGTRAP else number
        ptrace(PTRACE_CONT, pid, passed_on)


def main():
    path, way, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    if way == "now":
        scan(int(rest[0]), read_needles(path), sys.stdout)
        return 0
    if way == "exit":
        pid = int(rest[0])
        ptrace(PTRACE_SEIZE, pid, PTRACE_O_TRACEEXIT)
        print("seized", flush=True)

        def told():
            print("held", flush=True)
            sys.stdin.read()
            scan(pid, read_needles(path), sys.stdout)

        until_exit(pid, told)
        return 0
    needles = read_needles(path)
    pid = os.fork()
    if pid == 0:
        ptrace(PTRACE_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        # What the program says is for nobody: a value in it would be this process's own.
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.execv(rest[0], rest)
    os.waitpid(pid, 0)
    ptrace(PTRACE_SETOPTIONS, pid, PTRACE_O_TRACEEXIT)
    ptrace(PTRACE_CONT, pid)
    status = until_exit(pid, lambda: scan(pid, needles, sys.stdout))
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


sys.exit(main())
