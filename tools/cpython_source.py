# SPDX-License-Identifier: Apache-2.0
"""Fetches a CPython source archive, checks it, and builds it into .deps/. Used by cpython.py.

The archive comes from, in this order: $COPPICE_PYTHON_SOURCE, an archive or a folder of them; the
release on python.org; the pool of the Debian mirror that apt is configured for. Only archives whose
SHA-256 sum stands in tools/cpython.sha256 are unpacked. Everything is bounded in time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from cpython import ROOT, no_source, setup_error

SUMS = ROOT / "tools" / "cpython.sha256"
APT_HELPER = "/usr/lib/apt/apt-helper"
CONNECT_SECONDS = 20
DOWNLOAD_SECONDS = 300
STEP_SECONDS = 3600  # configure, make, make install: each, on the slowest machine we care for
HEARTBEAT_SECONDS = 15

# g++ and no PGO: two minutes instead of twenty. The RPATH makes bin/python3.x find its own
# libpython with nothing in the environment; cpython.py notices when the tree was moved.
CONFIGURE = ("-q", "--prefix={prefix}", "--enable-shared", "--without-static-libpython",
             "--with-ensurepip=install", "--disable-test-modules", "CC=gcc", "CXX=g++",
             "LDFLAGS=-Wl,-rpath,{prefix}/lib")


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def accepted() -> dict[str, str]:
    """Version -> SHA-256 sum, newest first within a minor version."""
    table = {}
    for line in SUMS.read_text().splitlines():
        if line and not line.startswith("#"):
            digest, version = line.split()
            table[version] = digest
    return table


def versions_of(minor: str) -> list[str]:
    return [version for version in accepted() if version.startswith(f"{minor}.")]


def recipe(minor: str) -> str:
    """What a finished build is stamped with: another one is built when this changes."""
    return " ".join([*CONFIGURE, *versions_of(minor)[:1]]) + "\n"


def is_current(prefix: Path) -> bool:
    """False for a build of ours by an older recipe. A build without a stamp is somebody's own."""
    stamp = prefix / ".coppice-recipe"
    return not stamp.exists() or stamp.read_text() == recipe(prefix.name.removeprefix("python"))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def archive_in(folder: Path, minor: str) -> tuple[Path, str]:
    """The newest accepted archive of a folder, and its version."""
    there = {sha256(path): path for path in sorted(folder.glob("*.tar.xz"))}
    for version in versions_of(minor):
        if accepted()[version] in there:
            return there[accepted()[version]], version
    raise no_source(f"COPPICE_PYTHON_SOURCE={folder} has no archive of CPython {minor} with a "
                    f"SHA-256 sum of tools/cpython.sha256: put Python-{versions_of(minor)[0]}"
                    ".tar.xz there, or leave it out and one is fetched.")


def given_archive(path: Path, minor: str) -> tuple[Path, str]:
    """What $COPPICE_PYTHON_SOURCE names, and its version."""
    if path.is_dir():
        return archive_in(path, minor)
    if not path.is_file():
        raise setup_error(f"COPPICE_PYTHON_SOURCE={path} is no file: name a .tar.xz of CPython "
                          f"{versions_of(minor)[0]}, or leave it out and one is fetched.")
    digest = sha256(path)
    version = {d: v for v, d in accepted().items()}.get(digest)
    if version is None:
        raise setup_error(f"COPPICE_PYTHON_SOURCE={path} is refused, its SHA-256 sum {digest} is "
                          "not in tools/cpython.sha256: fetch the release again, or leave it out.")
    if version not in versions_of(minor):
        raise no_source(f"COPPICE_PYTHON_SOURCE={path} is CPython {version} and {minor} is "
                        f"wanted: name one of {minor} or a folder with both, or leave it out and "
                        "one is fetched.")
    return path, version


class too_slow(Exception):
    """A download passed its bound."""


def release_url(version: str) -> str:
    folder = re.match(r"\d+\.\d+\.\d+", version).group()
    return f"https://www.python.org/ftp/python/{folder}/Python-{version}.tar.xz"


def download(url: str, target: Path) -> None:
    """Fetches over HTTP(S), bounded in time. Raises OSError or too_slow."""
    def alarm(_signal, _frame):
        raise too_slow(f"no answer within {CONNECT_SECONDS} s")

    import urllib.request  # Here: finding a CPython that is there should not wait for it.

    # A socket timeout counts per address tried; the alarm bounds them all together.
    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(CONNECT_SECONDS)
    try:
        response = urllib.request.urlopen(url, timeout=CONNECT_SECONDS)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    tell = time.monotonic() + HEARTBEAT_SECONDS
    with response, target.open("wb") as out:
        while chunk := response.read(1 << 18):
            out.write(chunk)
            now = time.monotonic()
            if now > deadline:
                raise too_slow(f"not finished within {DOWNLOAD_SECONDS} s")
            if now > tell:
                tell = now + HEARTBEAT_SECONDS
                say(f"  {out.tell() >> 20} MB")


def debian_mirrors(etc: Path = Path("/etc/apt")) -> list[str]:
    """The main archives in apt's own configuration, in its order; no security archives."""
    text = []
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        lines = [line for line in file.read_text(errors="replace").splitlines()
                 if not line.lstrip().startswith("#")]
        if file.suffix == ".list":
            text += [line for line in lines if line.startswith("deb")]
        else:  # deb822: one stanza is one source
            text += [" ".join(stanza.split()) for stanza in "\n".join(lines).split("\n\n")]
    mirrors = []
    for source in text:
        for uri in re.findall(r"https?://[^\s\]]+", source):
            uri = uri.rstrip("/")
            if re.search(r"\bmain\b", source) and "security" not in uri and uri not in mirrors:
                mirrors.append(uri)
    return mirrors


def from_mirror(mirror: str, version: str, target: Path) -> str | None:
    """Fetches from a Debian pool by apt's own means, proxies included. Why not, or None."""
    minor = ".".join(version.split(".")[:2])
    debian_version = re.sub(r"(rc\d+)$", r"~\1", version)
    url = f"{mirror}/pool/main/p/python{minor}/python{minor}_{debian_version}.orig.tar.xz"
    command = [APT_HELPER, "-o", "Acquire::Retries=1", "-o",
               f"Acquire::http::Timeout={CONNECT_SECONDS}", "download-file", url, str(target)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DOWNLOAD_SECONDS)
    except FileNotFoundError:
        return "there is no apt here"
    except subprocess.TimeoutExpired:
        return f"not finished within {DOWNLOAD_SECONDS} s"
    if done.returncode == 0 and target.exists():
        return None
    return "not there" if "404" in done.stdout + done.stderr else "no connection"


def offers(version: str, versions: list[str]):
    """(what to call it, version, fetch) in the order in which they are tried."""
    def from_python_org(target: Path) -> str | None:
        try:
            return download(release_url(version), target)
        except (OSError, too_slow) as error:
            return str(getattr(error, "reason", error))

    yield "python.org", version, from_python_org
    for mirror in debian_mirrors()[:3]:
        for one in versions:
            yield ("the package mirror", one,
                   lambda target, mirror=mirror, one=one: from_mirror(mirror, one, target))


def fetch(minor: str, folder: Path) -> tuple[Path, str]:
    """An archive with an accepted sum, and its version."""
    versions = versions_of(minor)
    for version in versions:
        kept = folder / f"Python-{version}.tar.xz"
        if kept.exists() and sha256(kept) == accepted()[version]:
            return kept, version
    folder.mkdir(parents=True, exist_ok=True)
    refused: list[str] = []
    for where, version, get in offers(versions[0], versions):
        say(f"fetching CPython {version} from {where}")
        partial = folder / f"Python-{version}.tar.xz.partial"
        reason = get(partial)
        if reason is None and sha256(partial) != accepted()[version]:
            reason = "its SHA-256 sum is wrong"
        if reason is None:
            return partial.rename(folder / f"Python-{version}.tar.xz"), version
        partial.unlink(missing_ok=True)
        say(f"  {reason}")
        refused.append(f"{version} from {where}: {reason}")
    raise no_source(f"no CPython could be fetched ({'; '.join(refused)}): fetch "
                    f"Python-{versions[0]}.tar.xz elsewhere and run again with "
                    "COPPICE_PYTHON_SOURCE=/path/to/it, or build without Python actors "
                    "with PYTHON=none.")


def clean_environment(env: dict) -> dict:
    """Nothing of the calling make, of another Python or of a person's flags gets into the build."""
    return {key: value for key, value in env.items()
            if not key.startswith(("PYTHON", "MAKE")) and
            key not in ("MFLAGS", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "DESTDIR",
                        "LD_LIBRARY_PATH", "VIRTUAL_ENV")}


def run_step(name: str, command: list[str], folder: Path, log: Path, env: dict) -> None:
    """Runs one step of the build with a sign of life now and then; ends its whole group at the
    bound."""
    begun = time.monotonic()
    say(f"  {name}")
    with log.open("ab") as out:
        out.write(f"\n$ {' '.join(command)}\n".encode())
        out.flush()
        child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=out, env=env, start_new_session=True)
        try:
            while True:
                try:
                    status = child.wait(HEARTBEAT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - begun
                    if passed > STEP_SECONDS:
                        raise setup_error(f"{name} was given up after {STEP_SECONDS} s: look at "
                                          f"the end of {shown(log)}.") from None
                    say(f"  {name}, {passed:.0f} s")
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    if status != 0:
        raise setup_error(f"{name} failed: look at the end of {shown(log)}, mend what it names and "
                          "run again.")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def build(minor: str, deps: Path, env: dict) -> None:
    """Builds into deps/python<minor>. The tree appears there whole or not at all."""
    begun = time.monotonic()
    deps = deps.resolve()
    prefix = deps / f"python{minor}"
    if env.get("COPPICE_PYTHON_SOURCE"):
        archive, version = given_archive(Path(env["COPPICE_PYTHON_SOURCE"]), minor)
    else:
        archive, version = fetch(minor, deps / "download")
    work = deps / f"build-{minor}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = deps / "log" / f"cpython-{version}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    jobs = env.get("COPPICE_JOBS") or str(os.cpu_count() or 2)
    stage = work / "stage"
    say(f"building CPython {version} into {shown(prefix)} (about two minutes; log: {shown(log)})")
    clean = clean_environment(env)
    source = work / "source"
    source.mkdir()
    run_step("unpack", ["tar", "-xf", str(archive.resolve()), "-C", str(source),
                        "--strip-components=1"], work, log, clean)
    run_step("configure", ["./configure", *(flag.format(prefix=prefix) for flag in CONFIGURE)],
             source, log, clean)
    run_step("make", ["make", f"-j{jobs}"], source, log, clean)
    # Out of the way, or ensurepip finds the old tree's pip and installs none. Gone with `work`.
    if prefix.exists():
        prefix.rename(work / "old")
    run_step("make install", ["make", "install", f"DESTDIR={stage}"], source, log, clean)
    staged = Path(f"{stage}{prefix}")
    (staged / ".coppice-recipe").write_text(recipe(minor))
    staged.rename(prefix)
    shutil.rmtree(work, ignore_errors=True)
    say(f"CPython {version} is ready after {time.monotonic() - begun:.0f} s")
