"""Driving motion for avatars, from a driver's video or a script.

The motion is smoothed and adapted to the avatar's face shape.
"""
