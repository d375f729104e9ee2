"""Form factors against gemmi, for every element and ion of the table."""

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.crystals.species import SPECIES
from xrdjax.diffraction.scattering import form_factor, form_factor_table

S2 = np.linspace(0, 0.45, 10)  # (sin θ/λ)² in 1/Å²; 1/λ² is 0.42 at Cu Kα


@pytest.fixture
def charges_count():
    ignored = gemmi.IT92_get_ignore_charge()
    gemmi.IT92_set_ignore_charge(False)
    yield
    gemmi.IT92_set_ignore_charge(ignored)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.usefixtures("charges_count")
def test_form_factors_are_gemmi_s(precision):
    """gemmi adds up in float32: each of five terms, and b s² within the exponentials, is off by some 2⁻²⁴."""
    with jax.enable_x64(precision == "float64"):
        table = form_factor_table().astype(precision)
        values = np.asarray(form_factor(jnp.asarray(table)[:, None], jnp.asarray(S2, precision)))
    assert values.dtype == precision
    for name, row in zip(SPECIES, values, strict=True):
        element = gemmi.Element("H" if name == "D" else name.rstrip("+-0123456789"))
        charge = int(f"{name[-1]}{name[-2]}") if name[-1] in "+-" else 0
        coefficients = gemmi.IT92_get_exact(element, charge)
        expected = [coefficients.calculate_sf(s2) for s2 in S2]
        scale = np.abs(coefficients.a).sum() + abs(coefficients.c)
        np.testing.assert_allclose(row, expected, rtol=0, atol=16 * 2**-24 * scale, err_msg=name)


def test_form_factors_in_float64_are_four_gaussians_and_a_constant():
    with jax.enable_x64(True):
        values = np.asarray(form_factor(jnp.asarray(form_factor_table())[:, None], jnp.asarray(S2)))
    for name, row in zip(SPECIES, values, strict=True):
        expected = reference.form_factor("H" if name == "D" else name, S2)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(("name", "number"), [("H", 1), ("D", 1), ("Si", 14), ("O2-", 10), ("Fe3+", 23), ("U6+", 86)])
def test_forward_scattering_counts_electrons(name, number):
    """The fits are good to a tenth of an electron; an ion's own entry differs from the atom's by its charge."""
    row = form_factor_table()[SPECIES.index(name)]
    assert row[:4].sum() + row[8] == pytest.approx(number, abs=0.1)


def test_gemmi_s_own_setting_is_left_alone():
    for setting in (True, False, True):
        gemmi.IT92_set_ignore_charge(setting)
        form_factor_table.cache_clear()
        form_factor_table()
        assert gemmi.IT92_get_ignore_charge() is setting
