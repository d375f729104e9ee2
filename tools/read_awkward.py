"""Write what the CIF reader makes of every file of an archive: `python tools/read_awkward.py ARCHIVE OUT.md`.

One row a file: space group, atoms in the cell and notes, or the reason why it is refused.
"""

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from xrdjax.crystals.cif import crystals_from_cif_text, decode_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.errors import CifError

HEAD = """# Awkward CIFs

What the reader makes of {num_files} files from the test suites of CIF parsers and crystallographic programs, and of old
databases; `python tools/read_awkward.py ARCHIVE docs/awkward_cifs.md` wrote this page. {num_read} of {num_blocks} data
blocks or files are read, the others refused. [Crystals](crystals.md) has the rules.

| file | space group | atoms | notes, or why it is refused |
| --- | ---: | ---: | --- |
"""


def main(archive: Path, out: Path) -> None:
    files = sorted(members(archive))
    readings = [reading for name, data in files for reading in read(name, data)]
    num_read = sum(isinstance(reading, Crystal) for reading in readings)
    head = HEAD.format(num_files=len(files), num_read=num_read, num_blocks=len(readings))
    out.write_text(head + "".join(row(reading) for reading in readings), encoding="utf-8")
    print(f"{out}: {num_read} of {len(readings)} data blocks of {len(files)} files are read")


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of all files, without the folders they are in."""
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)):
                yield Path(member.name).name, file.read()


def read(name: str, data: bytes) -> list[Crystal | CifError]:
    try:
        return crystals_from_cif_text(decode_cif(data), name)
    except ValueError as error:
        return [CifError(name, str(error))]


def row(reading: Crystal | CifError) -> str:
    """Return a row of the table; a block's name follows that of its file."""
    if isinstance(reading, CifError):
        cells = (reading.path, "", "", f"*refused*: {reading.reason}")
    else:
        cells = (reading.name, str(reading.space_group), str(reading.num_atoms), "; ".join(reading.notes))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
