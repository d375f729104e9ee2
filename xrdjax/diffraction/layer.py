"""The reflections of one layer of one crystal, traced: which there are, how strong, and the strongest of all.

This is the kernel of training pictures and of spot lists alike. Everything that `DiffractionConfig` says about physics
happens here.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from xrdjax.config import DiffractionConfig
from xrdjax.crystals.species import SPECIES, element_of, species_numbers
from xrdjax.diffraction.paper import is_in_paper, paper_plane
from xrdjax.diffraction.scattering import anomalous_table, form_factor_table, lorentz_polarization
from xrdjax.diffraction.sphere import strongest_reflection
from xrdjax.diffraction.structure_factor import Scatterers, block_intensities, intensities
from xrdjax.diffraction.zone import Rows, ZonePlane, combine, disc_rows, list_spots, zone_plane
from xrdjax.errors import ConfigError

NEUTRAL = species_numbers(map(element_of, SPECIES))


def make_scatterers(
    fract: Shaped[Array, "*atoms 3"],
    species: Int[Array, "*atoms"],
    occupancy: Float[Array, "*atoms"],
    u_iso: Float[Array, "*atoms"],
    config: DiffractionConfig,
    u_star: Float[Array, "*atoms 3 3"] | None = None,
) -> Scatterers:
    """Return atoms as the configuration lets them scatter. `u_star`, if any, replaces `u_iso`."""
    species = species if config.ions else jnp.asarray(NEUTRAL)[species]
    if config.anomalous and not isinstance(config.wavelength, int | float):
        raise ConfigError("wavelength: f′ and f″ come from a table; with anomalous scattering it cannot be traced")
    anomalous = anomalous_table(config.wavelength) if config.anomalous else None
    return Scatterers(
        fract=fract,
        coefficients=jnp.asarray(form_factor_table(config.radiation), occupancy.dtype)[species],
        occupancy=occupancy if config.occupancy else (occupancy > 0).astype(occupancy.dtype),
        u_iso=u_iso if config.debye_waller and u_star is None else None,
        u_star=u_star if config.debye_waller else None,
        anomalous=None if anomalous is None else jnp.asarray(anomalous, occupancy.dtype)[species],
    )


def layer_plane(
    direct: Float[Array, "3 3"],
    reciprocal: Float[Array, "3 3"],
    uvw: Int[Array, "3"],
    basis: Int[Array, "3 3"],
    config: DiffractionConfig,
) -> ZonePlane:
    """Return the configured layer of a zone in the configured frame."""
    plane = zone_plane(direct, reciprocal, uvw, basis, config.layer)
    return paper_plane(plane, reciprocal, uvw) if config.frame == "paper" else plane


def layer_rows(plane: ZonePlane, max_row: int, config: DiffractionConfig) -> Rows:
    """Return the rows of the reflections that can be drawn."""
    g_max = config.g_max
    if config.precession_deg is not None:
        outer = _precession_annulus(plane, config)[1]
        height = 0.0 if plane.height is None else plane.height
        g_max = jnp.minimum(g_max, jnp.sqrt(outer**2 + height**2))
    return disc_rows(plane, g_max, max_row, half=config.has_friedel_pairs)


def _precession_annulus(plane: ZonePlane, config: DiffractionConfig) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the inner and outer radius in 1/Å of what a precession camera records of a layer at height ζ.

    |sin ν ± sin µ|/λ with cos ν = cos µ − ζλ (M. J. Buerger, The Precession Method, 1964); nothing where there is no ν.
    A layer below the zero layer is the one above it of the crystal turned over.
    """
    sine_mu = jnp.sin(jnp.asarray(config.precession_deg, plane.xy.dtype) * (jnp.pi / 180))
    if plane.height is None:
        return jnp.zeros_like(sine_mu), 2 * sine_mu / config.wavelength
    cosine = jnp.sqrt(1 - sine_mu**2) - jnp.abs(plane.height) * config.wavelength
    sine = jnp.sqrt(jnp.maximum(1 - cosine**2, 0))
    outer = jnp.where(cosine > -1, sine + sine_mu, 0)
    return jnp.abs(sine - sine_mu) / config.wavelength, outer / config.wavelength


def layer_intensities(
    atoms: Scatterers,
    plane: ZonePlane,
    reciprocal: Float[Array, "3 3"],
    rows: Rows,
    size: int,
    num_atoms: int | Int[Array, ""],
    num_spots: int | Int[Array, ""],
    config: DiffractionConfig,
) -> tuple[Int[Array, "spots rows"], Bool[Array, "spots"], Float[Array, "spots"]]:
    """Return coefficients of `size` reflections in the plane's rows, which of them are there, and their intensities.

    |F|² times the Lorentz–polarisation factor, zero where nothing is. Loops run as far as `num_atoms` and `num_spots`.
    """
    index, exists = list_spots(rows, plane, size)
    s2 = plane.s2(index)
    if config.precession_deg is not None and plane.height is not None:
        exists &= 4 * s2 >= _precession_annulus(plane, config)[0] ** 2 + plane.height**2
    if config.frame == "paper":
        exists &= is_in_paper(combine(index, plane.hkl), reciprocal, config.g_max)
    intensity = intensities(atoms, plane.hkl, index, s2, num_atoms, num_spots)
    if config.lorentz_polarization != "none":
        intensity = intensity * lorentz_polarization(s2, config.wavelength, config.lorentz_polarization)
    return index, exists, jnp.where(exists, intensity, 0)


def sphere_maximum(
    atoms: Scatterers,
    reciprocal: Float[Array, "3 3"],
    num_atoms: int | Int[Array, ""],
    box: tuple[int, int],
    config: DiffractionConfig,
) -> Float[Array, ""]:
    """Return the strongest intensity of the whole limiting sphere; `box` is `row_box`. Differentiable."""

    def factor(s2: Float[Array, "spots"]) -> Float[Array, "spots"]:
        return lorentz_polarization(s2, config.wavelength, config.lorentz_polarization)

    hkl = strongest_reflection(
        atoms,
        reciprocal,
        config.g_max,
        num_atoms,
        box,
        factor=None if config.lorentz_polarization == "none" else factor,
        keep=(lambda hkl: is_in_paper(hkl, reciprocal, config.g_max)) if config.frame == "paper" else None,
    )
    mates = jnp.stack([hkl, -hkl])
    s2 = (combine(mates, reciprocal) ** 2).sum(-1) / 4
    strongest = block_intensities(atoms, jnp.eye(3, dtype=jnp.int32), mates, s2, num_atoms) * factor(s2)
    return jnp.where((hkl != 0).any(), strongest.max(), 0)
