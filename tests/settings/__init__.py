"""Tests of the settings: what they are, where they come from, and what is said of wrong ones."""
