"""Other ways to make diffraction patterns, for `benchmarks/peers.py`; none of them is a dependency of xrdjax."""
