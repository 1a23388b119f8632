"""Structure from motion: a canonical capture becomes a COLMAP model and a point cloud."""
