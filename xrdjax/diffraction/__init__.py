"""What a crystal scatters: lattice, zone, form factors, structure factors."""
