"""Command-line programs; run as `python -m scripts.NAME` from the repository root."""
