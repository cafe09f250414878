"""Tests that ask with the real clients, which the Go module in this folder pins."""
