"""Runs the demonstration, in an environment in which grpc bears that processes are started."""

import os
import sys

# It reads them when it is imported; with its support for forks a process of another user that is
# started while a call is under way can die before it has begun.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from play import main

sys.exit(main())
