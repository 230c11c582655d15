"""Neural-network interatomic potentials (MSR, Behler-Parrinello) for large-scale molecular dynamics."""

__version__ = "0.1.0"
