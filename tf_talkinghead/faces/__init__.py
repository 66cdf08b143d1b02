"""Faces in pictures: 68 landmarks, tracking, crops, identity vectors, geometry of the points."""
