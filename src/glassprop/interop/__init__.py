"""Models in and out: the file formats. It knows networks and parameters, not tables."""
