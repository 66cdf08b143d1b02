"""Avatars over gRPC: client, embedded server, and the files for TensorFlow Serving."""
