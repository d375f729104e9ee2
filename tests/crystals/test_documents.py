"""What is found where, in which order, and that no input can do harm."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest

from xrdjax.crystals import documents
from xrdjax.crystals.documents import DocumentError, find_documents, survey
from xrdjax.errors import XrdjaxError


def found(*inputs) -> dict[str, bytes | str]:
    """Return what can be read, and why the rest cannot, by name."""
    result = {}
    for document in find_documents([str(entry) for entry in inputs]):
        try:
            result[document.name] = document.read()
        except DocumentError as error:
            result[document.name] = str(error)
    return result


def write_tar(path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)


def test_directories_are_searched_in_the_order_of_paths(tmp_path):
    for name in ("b.cif", "a/z.CIF", "a/y.cif", "a.cif", "a/notes.txt", "c.mcif", "d.cif.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b"d") if name.endswith(".gz") else name.encode())
    assert list(found(tmp_path)) == ["a/y", "a/z", "a", "b", "c", "d"]
    assert found(tmp_path)["d"] == b"d"


def test_links_to_directories_are_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "a.cif").write_bytes(b"a")
    assert list(found(tmp_path / "in")) == ["a"]


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")],
)
def test_tar_archives(tmp_path, suffix, mode):
    members = {"x/b.cif": b"b", "x/a.cif": b"a", "x/readme": b"-", "x/c.cif.xz": lzma.compress(b"c")}
    write_tar(tmp_path / f"set{suffix}", members, mode)
    assert found(tmp_path / f"set{suffix}") == {"x/b": b"b", "x/a": b"a", "x/c": b"c"}


def test_zip_archives_and_single_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.cif", b"b")
        archive.writestr("deep/a.cif", b"a")
        archive.writestr("deep/", b"")
        archive.writestr("c.txt", b"c")
    (tmp_path / "one.cif").write_bytes(b"one")
    (tmp_path / "two.cif.bz2").write_bytes(bz2.compress(b"two"))
    assert found(tmp_path / "set.zip") == {"b": b"b", "deep/a": b"a"}
    several = found(tmp_path / "set.zip", tmp_path / "one.cif", tmp_path / "two.cif.bz2")
    assert several == {"set/b": b"b", "set/deep/a": b"a", "one": b"one", "two": b"two"}


def test_patterns_and_lists(tmp_path):
    for name in ("a1", "a2", "b1"):
        (tmp_path / f"{name}.cif").write_bytes(name.encode())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.cif").write_bytes(b"c")
    (tmp_path / "list.txt").write_text("# mine\nb1.cif\n\na*.cif\nsub\n")
    assert list(found(tmp_path / "a*.cif")) == ["a1", "a2"]
    assert list(found(tmp_path / "list.txt")) == ["b1", "a1", "a2", "sub/c"]
    (tmp_path / "list.txt").write_text("b1.cif\nnone.cif\n")
    with pytest.raises(XrdjaxError, match=r"list.txt: .*none.cif: no such file or directory"):
        found(tmp_path / "list.txt")


def test_survey_counts_and_sees_changes(tmp_path):
    (tmp_path / "a.cif").write_bytes(b"a")
    (tmp_path / "b.cif").write_bytes(b"b")
    first = survey([str(tmp_path)])
    assert first.num_documents == 2
    assert survey([str(tmp_path)]) == first
    (tmp_path / "b.cif").write_bytes(b"bb")
    assert survey([str(tmp_path)]) != first
    (tmp_path / "empty").mkdir()
    with pytest.raises(XrdjaxError, match=r"no \*.cif in it or below"):
        survey([str(tmp_path / "empty")])


def test_names_of_members_stay_names(tmp_path):
    write_tar(tmp_path / "set.tar", {"../../etc/a.cif": b"a", "/root/b.cif": b"b", "c\x1b[2J.cif": b"c"})
    before = sorted(tmp_path.rglob("*"))
    assert list(found(tmp_path / "set.tar")) == ["etc/a", "root/b", "c�[2J"]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_special_files_of_archives_are_refused(tmp_path):
    members = {}
    for kind, name in ((tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard"), (tarfile.CHRTYPE, "device")):
        members[name] = info = tarfile.TarInfo(f"{name}.cif")
        info.type, info.linkname = kind, "/etc/passwd"
    write_tar(tmp_path / "set.tar", members)
    assert all("is a link or another special file" in text for text in found(tmp_path / "set.tar").values())
    assert len(found(tmp_path / "set.tar")) == 3


def test_large_documents_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 1000)
    (tmp_path / "a.cif").write_bytes(b"a" * 1001)
    (tmp_path / "b.cif.gz").write_bytes(gzip.compress(b"b" * 1_000_000))
    (tmp_path / "c.cif").write_bytes(b"c" * 1000)
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d.cif", b"d" * 1_000_000)
    write_tar(tmp_path / "t.tar.gz", {"e.cif": b"e" * 1_000_000, "f.cif": b"f"}, "w:gz")
    result = found(tmp_path) | found(tmp_path / "z.zip") | found(tmp_path / "t.tar.gz")
    assert [name for name, text in result.items() if isinstance(text, bytes)] == ["c", "f"]
    assert all("1,000 bytes or more" in text for text in result.values() if isinstance(text, str))


def test_decompression_bombs_end_early(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "FREE_GROWTH", 100_000)
    write_tar(tmp_path / "t.tar.gz", {"a.cif": b"a", "zeros": bytes(50_000_000), "b.cif": b"b"}, "w:gz")
    result = found(tmp_path / "t.tar.gz")
    assert result.pop("a") == b"a"
    (reason,) = result.values()
    assert "breaks off after 1 CIFs" in reason
    assert "bomb" in reason


def test_damaged_archives_give_what_came_before(tmp_path):
    rows = {f"{n}.cif": os.urandom(2000) for n in range(50)}
    write_tar(tmp_path / "t.tar.gz", rows, "w:gz")
    whole = (tmp_path / "t.tar.gz").read_bytes()
    (tmp_path / "t.tar.gz").write_bytes(whole[: len(whole) // 2])
    result = found(tmp_path / "t.tar.gz")
    assert 10 < sum(isinstance(text, bytes) for text in result.values()) < 40
    assert "breaks off after" in result["t"]
    (tmp_path / "u.tar.gz").write_bytes(b"no archive at all")
    assert "breaks off after 0 CIFs" in found(tmp_path / "u.tar.gz")["u"]
    (tmp_path / "v.zip").write_bytes(b"no archive at all")
    assert "breaks off after 0 CIFs" in found(tmp_path / "v.zip")["v"]


def test_encrypted_and_damaged_members_of_zips_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.cif", b"a" * 50)
        archive.writestr("b.cif", b"b" * 50)
    data = bytearray((tmp_path / "z.zip").read_bytes())
    data[data.index(b"aaaa")] ^= 1
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[central + 8] |= 1  # the second is said to be encrypted
    (tmp_path / "z.zip").write_bytes(data)
    result = found(tmp_path / "z.zip")
    assert "CRC" in result["a"]
    assert "encrypted" in result["b"]


def test_pipes_and_unreadable_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "dangling.cif").symlink_to(tmp_path / "nothing")
    assert "no regular file" in found(tmp_path)["pipe"]
    assert "no regular file" in found(tmp_path)["dangling"]
