"""Tests of the client, module by module."""
