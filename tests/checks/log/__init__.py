"""Tests of the check that sees a line come out of the logging."""
