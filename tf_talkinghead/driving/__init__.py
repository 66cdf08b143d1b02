"""Motion for an avatar: from a driver's video or from a script, smoothed and adapted to the
avatar's face.
"""
