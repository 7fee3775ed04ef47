"""Models in use: streams, services, exports."""
