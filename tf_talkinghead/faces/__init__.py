"""Faces in pictures: landmarks, pupils, tracking, crops, face vectors, geometry of the points."""
