"""Learned features and matchers, each in a module of its own, configured as hloc configures them.

`catalogue` and `equipment` import nothing heavy; torch, kornia and transformers come with the modules of the models.
"""
