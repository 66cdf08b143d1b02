"""Personalisation (Sec. 3.3): an avatar from a few images of a new person and trained weights."""
