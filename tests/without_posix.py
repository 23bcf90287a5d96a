"""Imports all of mixlab and trains a run to its end where mixlab finds only what Python has on Windows, too.

    python tests/without_posix.py RUNS_DIR

Only mixlab's own imports see it so: its libraries bring their own code for each system, and so does filelock.
"""

import builtins
import importlib
import os
import pkgutil
import signal
import sys
import types

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    "os": {"O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_SYNC",
           "O_TMPFILE", "chown", "chroot", "confstr", "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty",
           "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getsid",
           "getuid", "getxattr", "killpg", "lchown", "lockf", "memfd_create", "mkfifo", "mknod", "nice", "openpty",
           "pathconf", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "pwrite", "register_at_fork",
           "sched_getaffinity", "sched_setaffinity", "sendfile", "setpriority", "setsid", "statvfs", "sync",
           "sysconf", "ttyname", "uname", "wait", "wait3", "wait4"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2",
               "alarm", "pthread_kill", "setitimer", "sigwait"}}


def open_no_folder(path, *arguments, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return os.open(path, *arguments, **named)


def kill_at_once(pid, number):
    raise SystemExit(f"os.kill ends a process of Windows at once, whatever the signal ({number})")


def no_link(*names):
    raise OSError(1, "the file system has no second names")


def stand_in(module):
    kept = {name: value for name, value in vars(module).items() if name not in NAMES[module.__name__]}
    shown = types.ModuleType(module.__name__)
    vars(shown).update(kept)
    return shown


WINDOWS = {"os": stand_in(os), "signal": stand_in(signal)}
vars(WINDOWS["os"]).update(name="nt", open=open_no_folder, kill=kill_at_once, link=no_link)


def as_on_windows(name, namespace=None, local=None, taken=(), level=0, found=builtins.__import__):
    if namespace and namespace.get("__name__", "").split(".")[0] == "mixlab":
        if name.split(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in WINDOWS:
            return WINDOWS[name]
    return found(name, namespace, local, taken, level)


def main(runs_dir):
    builtins.__import__ = as_on_windows
    import mixlab
    for module in pkgutil.walk_packages(mixlab.__path__, "mixlab."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from mixlab.grid.running import interrupted_by_sigterm
    from mixlab.params import Pretrain
    from mixlab.train import train

    with interrupted_by_sigterm():
        run = train(Pretrain.check(train_size=64, batch_size=32, epochs=2, device="cpu", checkpoint_every=0.0,
                                   runs_dir=runs_dir, interactive=False))
    print("finished", run.finished(), (run.path / "checkpoint.pt.previous").exists())


if __name__ == "__main__":
    main(sys.argv[1])
