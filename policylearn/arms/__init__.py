"""Policies that a config names: the one to be learned, and every arm it is compared with."""
