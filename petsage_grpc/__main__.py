"""Makes `python -m petsage_grpc` the same as the command `petsage-grpc`."""

import sys

from petsage_grpc.cli import main

if __name__ == "__main__":
    sys.exit(main())
