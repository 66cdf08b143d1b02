"""Serving of avatars over gRPC: client, embedded server with TensorFlow Serving's API, and tools.

The tools write TensorFlow Serving's configuration and roll out versions on its servers.
"""
