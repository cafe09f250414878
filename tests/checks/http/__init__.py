"""Tests of the check that asks over HTTP."""
