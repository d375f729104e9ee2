"""What a crystal is: read from a CIF, expanded by its symmetry, packed with others into one file."""
