"""Photo collections: pictures by anybody, of one place or several, become models and point clouds."""
