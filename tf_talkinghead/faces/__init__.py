"""Faces in pictures: 68 landmarks, tracking, square crops, identity vectors and
the geometry of the points.
"""
