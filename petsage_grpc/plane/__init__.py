"""Where it runs: the service put together, its life and its log."""
