"""Tests of the check that asks a downstream for its health."""
