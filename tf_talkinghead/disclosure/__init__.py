"""Disclosure of synthetic media: signed manifests, captions, and checking any file for a mark."""
