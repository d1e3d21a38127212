"""Measurements behind the figures in the README: ``python -m benchmarks``. No part of the installed package."""
