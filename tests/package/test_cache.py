"""Where compiled code is kept: whole files that nobody else can have put there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dali_msda import build
from tests.package.sources import answer, write


@pytest.mark.parametrize("damage", ["empty", "half", "one bit", "no digest", "gone"])
def test_damaged_entry_is_rebuilt(tree, damage):
    path = build.library("cpu")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "no digest":
        path.with_name(f"{path.name}.sha256").unlink()
    else:
        bad = {"empty": b"", "half": content[: len(content) // 2]}
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.unlink()  # not in place: the file may be mapped
        path.write_bytes(bad.get(damage, flipped))
    assert build.library("cpu") == path
    assert answer(path) == 42


def test_processes_at_once_make_one_good_file(tree):
    code = (
        "import sys, pathlib; from dali_msda import build; "
        "build.KERNELS = pathlib.Path(sys.argv[1]); print(build.library('cpu'))"
    )
    command = [sys.executable, "-c", code, str(tree / "kernels")]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    outputs = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len({out for out, _ in outputs}) == 1
    assert sum("compiling" in err for _, err in outputs) == 1
    path = Path(outputs[0][0].strip())
    assert answer(path) == 42
    assert not list(path.parent.glob(".*"))  # nothing half-written is left


def test_failed_compilation_shows_the_error_and_leaves_nothing(tree):
    write(tree / "kernels/cpu/api.cpp", "int answer() { return forty_two; }\n")
    with pytest.raises(RuntimeError, match=r"error: 'forty_two' was not declared"):
        build.library("cpu")
    assert {path.suffix for path in (tree / "cache").rglob("*") if path.is_file()} <= {".lock"}


@pytest.fixture
def compiler(tree, monkeypatch):
    """Puts a shell script in the compiler's place."""

    def put(script):
        write(tree / "g++", f"#!/bin/sh\n{script}\n").chmod(0o755)
        monkeypatch.setenv("CXX", str(tree / "g++"))

    return put


def left_behind(tree):
    return [path for path in (tree / "cache").rglob("*") if path.is_file()]


def test_killed_compiler(tree, compiler):
    """As where memory runs out."""
    compiler("kill -9 $$")
    with pytest.raises(RuntimeError, match="^the compiler was ended by signal 9:\n"):
        build.library("cpu")
    assert {path.suffix for path in left_behind(tree)} == {".lock"}


@pytest.mark.parametrize("library", [b"", b"\x7fELF half"])
def test_full_disk(tree, monkeypatch, library):
    """Neither a half library nor a library without its digest is left."""
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", raise_no_space)
        full.setattr(build, "compile_into", lambda folder, name: written(folder / name, library))
        with pytest.raises(RuntimeError, match=r"^/\S+ could not be made \(.*No space left"):
            build.library("cpu")
    assert {path.suffix for path in left_behind(tree)} == {".lock"}
    assert answer(build.library("cpu")) == 42


def raise_no_space(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def written(path, content):
    path.write_bytes(content)
    return path


def test_unwritable_cache_has_a_private_substitute(tree, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(write(tree / "file", "no folder")))
    path = build.library("cpu")
    assert path.parent.parent == tree / "tmp"
    assert path.parent.stat().st_mode & 0o077 == 0
    assert f"cannot write to the cache ([Errno 20] Not a directory: '{tree}/file" in (
        capsys.readouterr().err
    )
    assert build.library("cpu") == path
    assert capsys.readouterr().err == ""  # found there without a word

    path.parent.chmod(0o777)  # others could have put their code there
    with pytest.raises(RuntimeError, match="can be written by others; .* set XDG_CACHE_HOME"):
        build.library("cpu")


FOLDERS = [".", "cache", "cache/dali_msda", "cache/dali_msda/*"]


@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("mode", [0o770, 0o775, 0o707, 0o757])
def test_a_cache_that_others_can_write_is_not_trusted(tree, place, mode):
    path = build.library("cpu")
    (folder,) = tree.glob(place) if "*" in place else [tree / place]
    folder.chmod(mode)
    said = rf"not safe: {folder} can be written by others; `chmod go-w {folder}` .* XDG_CACHE_HOME"
    if mode & 0o022:
        with pytest.raises(RuntimeError, match=said):
            build.library("cpu")
    folder.chmod(0o755)
    assert build.library("cpu") == path
    folder.chmod(0o1777)  # as /tmp: nobody can put a file in the place of ours
    assert build.library("cpu") == path


def given_away(path, monkeypatch):
    """The file of another user; only root can give one away, others become another user."""
    if os.getuid() == 0:
        os.chown(path, 65534, 65534, follow_symlinks=False)
        return 65534
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    return owner


@pytest.mark.parametrize("place", FOLDERS)
def test_a_cache_of_another_user_is_not_trusted(tree, place, monkeypatch):
    build.library("cpu")
    (folder,) = tree.glob(place) if "*" in place else [tree / place]
    folder.chmod(0o755)
    owner = given_away(folder, monkeypatch)
    with pytest.raises(RuntimeError, match=rf"not safe: /\S+ belongs to another user, .* {owner};"):
        build.library("cpu")


def test_a_link_leads_to_a_cache_that_is_not_trusted(tree, capsys):
    path = build.library("cpu")
    (tree / "shared").mkdir()
    (tree / "shared").chmod(0o777)
    (tree / "cache").rename(tree / "shared/cache")
    (tree / "cache").symlink_to(tree / "shared/cache")
    with pytest.raises(RuntimeError, match=f"not safe: {tree}/shared can be written by others"):
        build.library("cpu")
    (tree / "shared").chmod(0o755)
    capsys.readouterr()
    assert build.library("cpu") == path
    assert not capsys.readouterr().err


@pytest.mark.parametrize("whose", ["group's", "everybody's", "another's"])
def test_a_library_that_others_could_write_is_made_anew(tree, monkeypatch, capsys, whose):
    path = build.library("cpu")
    before = path.stat().st_ino
    if whose == "another's":
        if os.getuid():
            pytest.skip("only root can give a file away")
        given_away(path, monkeypatch)
    else:
        path.chmod(0o775 if whose == "group's" else 0o757)
    assert build.library("cpu") == path
    about = path.stat()
    assert (about.st_ino != before, about.st_uid, about.st_mode & 0o022) == (True, os.getuid(), 0)
    assert capsys.readouterr().err.count("compiling") == 2


def test_a_cache_is_private_whatever_the_umask(tree):
    before = os.umask(0)
    try:
        path = build.library("cpu")
    finally:
        os.umask(before)
    made = [path, *path.parents[:3]]
    assert [place.stat().st_mode & 0o777 for place in made] == [0o755, 0o700, 0o700, 0o700]
    assert build.library("cpu") == path


def test_a_package_does_without_a_cache_that_is_not_trusted(tree, monkeypatch):
    kept = build.library("cpu")
    built = build.compile_into(build.PREBUILT, "cpu")
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    assert build.library("cpu") == kept
    (tree / "cache").chmod(0o777)
    assert build.library("cpu") == built


def test_relative_cache_and_missing_home(tree, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", str(tree / "home"))
    assert build.library("cpu").is_relative_to(tree / "home/.cache")
    monkeypatch.setenv("HOME", "")  # as for a user id without an account
    assert build.library("cpu").is_absolute()
