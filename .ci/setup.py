"""Make .venv hold what pyproject.toml and constraints.txt ask for; do nothing where it does already."""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = Path("outputs/setup.log")
PYTHON = "python{}.{}".format(*sys.version_info)
# Written last: a half-made environment has none, nor has one that was made for another Python.
STAMP = VENV / "lib" / PYTHON / "site-packages" / "misf_lite.stamp"


class Failure(Exception):
    """What failed and what to do about it, in one sentence."""


def is_made_for(stamp):
    return (VENV / "bin/python").exists() and STAMP.exists() and STAMP.read_text().splitlines()[: len(stamp)] == stamp


def run(log, *command):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode == 0


def make_venv(log):
    print("Setting up: making .venv with Python", sys.version.split()[0], flush=True)
    if not importlib.util.find_spec("ensurepip"):
        raise Failure(
            f"this Python comes without its venv module: install it (Debian, Ubuntu: apt install {PYTHON}-venv)"
        )
    if not run(log, sys.executable, "-m", "venv", "--clear", str(VENV)):
        raise Failure(f"Python could not make .venv ({LOG} says why): mend that")


def install(log):
    print(f"Setting up: installing packages, minutes the first time (watch: tail -f {LOG})", flush=True)
    pip = (str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    if run(log, *pip, "install", "-c", "constraints.txt", "-e", ".[dev]"):
        return
    lines = (ROOT / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines if line.strip().startswith("ERROR:")] or ["ERROR: nothing"]
    advice = "free some 8 GB of disk" if "No space left on device" in said[-1] else "check the network connection"
    raise Failure(f"pip said '{said[-1].removeprefix('ERROR: ')}' (all of it: {LOG}): {advice}")


def set_up(log, stamp):
    is_whole = is_made_for(stamp[:1])  # then only the packages asked for have changed
    try:
        if not is_whole:
            make_venv(log)
        install(log)
        STAMP.write_text("\n".join(stamp))
        is_whole = True
    finally:
        if not is_whole:
            shutil.rmtree(VENV, ignore_errors=True)


def main():
    asked = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    stamp = [ascii(str(ROOT)), hashlib.sha256(asked).hexdigest()]
    if is_made_for(stamp):
        return None
    start = time.monotonic()
    try:
        (ROOT / LOG).parent.mkdir(exist_ok=True)
        with (ROOT / LOG).open("a") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log.truncate(0)
            set_up(log, stamp)
    except BlockingIOError:
        return "Another set-up is at work in this folder: wait until it is done, then run the same command again."
    except KeyboardInterrupt:
        return "Set-up was interrupted: run the same command again to start it afresh."
    except (Failure, OSError) as failure:
        return f"Set-up failed: {failure}, then run the same command again."
    print(f"Set up in {time.monotonic() - start:.0f} s")
    return None


if __name__ == "__main__":
    sys.exit(main())
