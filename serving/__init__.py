"""Avatars over gRPC: an embedded server with TensorFlow Serving's API, a client, and TensorFlow
Serving's own files.
"""
