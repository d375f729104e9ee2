"""Mutilated CIFs: whatever is done to a file, a sane crystal or a reason comes out, and soon."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from xrdjax.crystals.cell_contents import MAX_ATOMS
from xrdjax.crystals.cif import crystals_from_cif_text, decode_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import SPECIES
from xrdjax.errors import CifError

DATA = Path(__file__).parents[1] / "data"
SEEDS = [path.read_bytes() for path in sorted([*DATA.glob("dialects/*.cif"), *DATA.glob("cifs/*.cif")])]
HOSTILE = [
    *(
        b"1e999",
        b"-1e308",
        b"99999999999999999999",
        b"0x10",
        b"1_000",
        b"nan",
        b"-inf",
        b"1e-320",
        b"0.5(",
        b"(5)",
        b"+-1",
    ),
    *(
        b"?",
        b".",
        b"''",
        b"';'",
        b'"',
        b"'",
        b"\n;\n",
        b"\n;",
        b"#",
        b"data_",
        b"loop_",
        b"save_",
        b"stop_",
        b"global_",
    ),
    *(b"\0", b"\x1a", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x88\x92", b"\xb5", b"\r", b"\x0c", b"[1 2", b"{a:", b"'''"),
    *(b"x,y,z", b"-x,-y,-z", b"x+1/7,y,z", b"x1,x2,x3,x4", b"h,k,l", b"999x,y,z", b"P 1", b"F d 3 m", b"R 3 m", b"230"),
    *(
        b"_atom_site_label",
        b"_cell_length_a",
        b"_atom_site_fract_x",
        b"_space_group_IT_number",
        b"Wat",
        b"X",
        b"D",
        b"HO1",
    ),
    *(
        b"1/0",
        b"1/3",
        b"0,5",
        b"-0.001",
        b"1.005",
        b"179.9999",
        b"0.00001",
        b"10000",
        b"\xd9\xa1",
    ),  # the last: Arabic 1
]
NUMBER = re.compile(rb"((?<=\s)[+-]?[\d.]+(?:\(\d+\))?(?=\s))")


def mutated(rng: np.random.Generator) -> bytes:
    """Return one of the seeds after one to three mutilations."""
    data = SEEDS[rng.integers(len(SEEDS))]
    for _ in range(rng.integers(1, 4)):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
    return data


def flip_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    if len(changed):
        where = rng.integers(len(changed), size=rng.integers(1, 9))
        changed[where] ^= rng.integers(1, 256, size=len(where)).astype(np.uint8)
    return changed.tobytes()


def delete_part(data: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(data) + 1))
    return data[:start] + data[start + int(rng.integers(200)) :]


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def move_lines(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    first, second = rng.integers(len(lines), size=2)
    match rng.integers(3):
        case 0:
            lines.insert(first, lines[second])
        case 1:
            lines[first], lines[second] = lines[second], lines[first]
        case 2:
            del lines[first]
    return b"\n".join(lines)


def swap_words(data: bytes, rng: np.random.Generator) -> bytes:
    return _swap(re.split(rb"(\s+)", data), rng)


def swap_numbers(data: bytes, rng: np.random.Generator) -> bytes:
    return _swap(re.split(NUMBER, data), rng, offset=1)


def _swap(pieces: list[bytes], rng: np.random.Generator, offset: int = 0) -> bytes:
    """Swap two of every other piece."""
    where = np.arange(offset, len(pieces), 2)
    first, second = rng.choice(where, size=2) if len(where) else (0, 0)
    pieces[first], pieces[second] = pieces[second], pieces[first]
    return b"".join(pieces)


def insert_hostile(data: bytes, rng: np.random.Generator) -> bytes:
    """Put a hostile word in place of another, or of a number."""
    pieces = re.split(rb"(\s+)", data) if rng.integers(2) else [b"", *re.split(NUMBER, data)]
    pieces[2 * rng.integers((len(pieces) + 1) // 2)] = HOSTILE[rng.integers(len(HOSTILE))]
    return b"".join(pieces)


def splice(data: bytes, rng: np.random.Generator) -> bytes:
    other = SEEDS[rng.integers(len(SEEDS))]
    return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other)) :]


def replace_digits(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a digit or a sign: the syntax stays whole, and the reader gets to the physics."""
    changed = np.frombuffer(data, np.uint8).copy()
    if len(digits := np.flatnonzero((changed >= 48) & (changed < 58))):
        where = rng.choice(digits, size=rng.integers(1, 5))
        changed[where] = rng.choice(np.frombuffer(b"0123456789-.", np.uint8), size=len(where))
    return changed.tobytes()


MUTATIONS = (flip_bytes, delete_part, truncate, move_lines, splice) + 4 * (
    swap_numbers,
    insert_hostile,
    replace_digits,
    swap_words,
)


def check(data: bytes) -> int:
    """Read the bytes, assert that what comes out is sane, and return the number of crystals."""
    try:
        text = decode_cif(data)
    except ValueError:
        return 0
    started = time.monotonic()
    readings = crystals_from_cif_text(text, "fuzz")
    assert time.monotonic() - started < 10
    assert readings
    for reading in readings:
        if isinstance(reading, CifError):
            assert "\n" not in str(reading)
            assert len(reading.reason) <= 500
        else:
            assert_sane(reading)
    return sum(isinstance(reading, Crystal) for reading in readings)


def assert_sane(crystal: Crystal) -> None:
    n = crystal.num_atoms
    assert 0 < n <= MAX_ATOMS
    assert len(crystal.species) == len(crystal.occupancy) == len(crystal.u_iso) == len(crystal.site) == n
    assert set(crystal.species) <= set(SPECIES)
    assert np.all((crystal.fract >= 0) & (crystal.fract < 1))
    assert np.all((crystal.occupancy > 0) & (crystal.occupancy <= 1.01))
    assert np.all(np.isfinite(crystal.u_iso) & (crystal.u_iso >= 0))
    assert np.isfinite(crystal.cell).all()
    assert crystal.u_aniso is None or np.isfinite(crystal.u_aniso).all()
    assert 1 <= crystal.space_group <= 230
    assert all(isinstance(note, str) and "\n" not in note for note in crystal.notes)


def test_mutilated_files_give_a_sane_crystal_or_a_reason():
    rng = np.random.default_rng(20240229)
    num_crystals = sum(check(mutated(rng)) for _ in range(500))
    assert 50 < num_crystals < 450  # else the mutilations do nothing, or nothing survives them


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_thousands_of_mutilated_files_give_a_sane_crystal_or_a_reason(seed):
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        data = mutated(rng)
        try:
            check(data)
        except Exception:
            Path(f"/tmp/fuzz_failure_{seed}.cif").write_bytes(data)
            raise


def test_seeds_are_read():
    assert sum(check(seed) for seed in SEEDS) == len(SEEDS)  # one is magnetic, one has two phases
