"""Feeds the service what no client should send, and no user write, and sees that it stays calm."""
