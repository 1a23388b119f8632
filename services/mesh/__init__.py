"""Six views of an object become a textured mesh."""
