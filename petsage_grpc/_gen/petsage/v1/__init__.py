"""Generated from protos/ by tools/stubs.py; do not edit."""
