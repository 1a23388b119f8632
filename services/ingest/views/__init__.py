"""Uploads of six views and six depth renders: whether they are pictures that an object can be made of."""
