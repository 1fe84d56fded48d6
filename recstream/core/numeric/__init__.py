"""Numeric toolbox of the core: compiled kernels, and what they need.

Kernels take checked arrays and write to arrays that they are given; they hold no state. Import its
modules one by one.
"""
