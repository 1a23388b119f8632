"""Structure from motion: a canonical capture becomes a COLMAP model and a point cloud."""

# Before pycolmap, which brings a zlib of its own: with that one loaded first, OpenCV's PNG writer frees memory twice.
import zlib  # noqa: F401
